// The queues that call a function, one for each lane, and the queues of their dead letters.

import { ArnFormat, Duration, RemovalPolicy, Stack, aws_sqs as sqs } from "aws-cdk-lib";
import { Construct } from "constructs";
import { alarm } from "./alarms";
import { acknowledge } from "./reasons";
import { Settings } from "./settings";
import { Lane, Row, camel } from "./table";

/** Visibility timeout over the function's timeout, beside the window, as AWS advises for a queue that a function reads. */
const VISIBILITY = 6;
/** Seconds after which a message of the lane high is late; longer than the 15 minutes by which a retry may be delayed. */
const LATE = 1_200;
const RETENTION = Duration.days(14);
/** The worker counts attempts and parks what it cannot read; this bound is for a worker that never starts. */
const RECEIVES = 1_000;

/** What a lane's names are made of. */
const LANES = {
  high: { part: "High", suffix: "-high", late: LATE },
  normal: { part: "", suffix: "", late: 2 * LATE },
  low: { part: "Low", suffix: "-low", late: 6 * LATE },
  ordered: { part: "Ordered", suffix: "-ordered.fifo", late: 2 * LATE },
} as const;

export interface QueueOfLane {
  readonly queue: sqs.Queue;
  readonly lane: Lane;
  /** Logical id. */
  readonly id: string;
  /** After the stack's name. */
  readonly name: string;
  /** Name of its event source. */
  readonly event: string;
  readonly fedBy?: string;
}

export interface DeadLetters {
  readonly queue: sqs.Queue;
  readonly id: string;
  readonly fifo: boolean;
}

/** All queues of a function. Their logical ids begin with the scope's. */
export class Queues {
  readonly lanes: QueueOfLane[] = [];
  readonly dead: DeadLetters[] = [];

  constructor(
    private readonly scope: Construct,
    private readonly row: Row,
    private readonly settings: Settings,
  ) {
    const { lanes = [], queue, stream } = row.trigger;
    const all: Lane[] = queue ? [...lanes, { lane: "normal", ...queue }] : lanes;
    for (const fifo of [false, true]) {
      const sources = all.filter((lane) => (lane.lane === "ordered") === fifo);
      if (sources.length > 0 || (stream && !fifo)) this.deadLetters(fifo, sources);
    }
    for (const lane of all) this.lane(lane, queue?.fed_by);
  }

  private get stack(): Stack {
    return Stack.of(this.scope);
  }

  private fullName(name: string): string {
    return `${this.stack.stackName}-${name}`;
  }

  private deadLetters(fifo: boolean, sources: Lane[]): void {
    const id = `${fifo ? "Ordered" : ""}DeadLetter`;
    const name = `${this.row.name}-dead${fifo ? ".fifo" : ""}`;
    const queue = new sqs.Queue(this.scope, `${id}Queue`, {
      queueName: this.fullName(name),
      fifo: fifo || undefined,
      retentionPeriod: RETENTION,
      encryption: sqs.QueueEncryption.SQS_MANAGED,
      removalPolicy: RemovalPolicy.DESTROY,
    });
    for (const rule of ["AwsSolutions-SQS3", "Serverless-SQSRedrivePolicy"]) {
      acknowledge(queue, rule, "It is where dead letters end; an alarm tells when there are any.");
    }
    // By name: a reference would be circular.
    const sourceQueueArns = sources.map((lane) => {
      const resource = this.fullName(this.row.name + LANES[lane.lane].suffix);
      return this.stack.formatArn({ service: "sqs", resource, arnFormat: ArnFormat.NO_RESOURCE_NAME });
    });
    const cfn = queue.node.defaultChild as sqs.CfnQueue;
    cfn.redriveAllowPolicy =
      sourceQueueArns.length > 0 ? { redrivePermission: "byQueue", sourceQueueArns } : { redrivePermission: "denyAll" };
    alarm(this.scope, `${id}Alarm`, this.settings, this.stack.stackName, {
      name,
      description:
        `Messages wait in the dead-letter queue that ${this.row.name} could not take. Read one in the console of SQS: what sent it? ` +
        "Repaired, the code takes them after a redrive to their queue.",
      namespace: "AWS/SQS",
      metric: "ApproximateNumberOfMessagesVisible",
      dimensions: { QueueName: queue.queueName },
      statistic: "Maximum",
      period: 300,
      threshold: 0,
      when: ">",
      over: false,
    });
    this.dead.push({ queue, id: `${camel(this.row.name)}${id}Queue`, fifo });
  }

  private lane(lane: Lane, fedBy?: string): void {
    const { part, suffix, late } = LANES[lane.lane];
    const fifo = lane.lane === "ordered";
    const dead = this.dead.find((dead) => dead.fifo === fifo)!;
    const seconds = this.row.timeout ? VISIBILITY * this.row.timeout + lane.window : this.settings.visibilityTimeout;
    const name = this.row.name + suffix;
    const queue = new sqs.Queue(this.scope, `${part}Queue`, {
      queueName: this.fullName(name),
      fifo: fifo || undefined,
      // Order holds within a group alone, so that groups are as many as there is work.
      deduplicationScope: fifo ? sqs.DeduplicationScope.MESSAGE_GROUP : undefined,
      fifoThroughputLimit: fifo ? sqs.FifoThroughputLimit.PER_MESSAGE_GROUP_ID : undefined,
      retentionPeriod: RETENTION,
      visibilityTimeout: Duration.seconds(seconds),
      encryption: sqs.QueueEncryption.SQS_MANAGED,
      deadLetterQueue: { queue: dead.queue, maxReceiveCount: RECEIVES },
      removalPolicy: RemovalPolicy.DESTROY,
    });
    const id = `${camel(this.row.name)}${part}Queue`;
    this.lanes.push({ queue, lane, id, name, event: `${part}Queue`, fedBy });
    if (!this.settings.isWatched) return;
    alarm(this.scope, `${part}QueueAgeAlarm`, this.settings, this.stack.stackName, {
      name: `${name}-age`,
      description:
        `A message has waited for ${late} s. Look at the errors and throttles of ${this.row.name}; if it only has too much to do, raise the ` +
        "concurrency of the queue in infra/functions.json.",
      namespace: "AWS/SQS",
      metric: "ApproximateAgeOfOldestMessage",
      dimensions: { QueueName: queue.queueName },
      statistic: "Maximum",
      period: 60,
      periods: 5,
      threshold: late,
      when: ">",
    });
  }
}
