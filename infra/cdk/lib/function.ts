// A row of the table: a function, its role and log group, its queues, what calls it, and its alarms. A worker is one with lanes.

import {
  Duration,
  RemovalPolicy,
  Stack,
  aws_events as events,
  aws_iam as iam,
  aws_lambda as lambda,
  aws_logs as logs,
  aws_scheduler as scheduler,
} from "aws-cdk-lib";
import { Construct } from "constructs";
import * as fs from "node:fs";
import * as path from "node:path";
import { alarm } from "./alarms";
import { Named, statement } from "./grants";
import { Queues } from "./queues";
import { acknowledge, acknowledgeWide } from "./reasons";
import { Settings } from "./settings";
import { BUILT, Row, Table, Tick, camel } from "./table";

/** Lambda's default of this project, in MB. */
const MEMORY = 256;

const LEVELS: Record<string, lambda.ApplicationLogLevel> = {
  error: lambda.ApplicationLogLevel.ERROR,
  warn: lambda.ApplicationLogLevel.WARN,
  info: lambda.ApplicationLogLevel.INFO,
  debug: lambda.ApplicationLogLevel.DEBUG,
  trace: lambda.ApplicationLogLevel.TRACE,
};

export class MillraceFunction extends Construct {
  readonly function: lambda.Function;
  readonly queues: Queues;
  readonly row: Row;
  private readonly role: iam.Role;
  private readonly settings: Settings;

  constructor(scope: Construct, row: Row, settings: Settings, built: string | undefined) {
    super(scope, camel(row.name));
    this.row = row;
    this.settings = settings;
    const stack = Stack.of(this);
    const name = `${stack.stackName}-${row.name}`;
    this.queues = new Queues(this, row, settings);
    this.role = new iam.Role(this, "Role", { assumedBy: new iam.ServicePrincipal("lambda.amazonaws.com") });
    const logGroup = new logs.LogGroup(this, "Logs", {
      logGroupName: `/aws/lambda/${name}`,
      retention: settings.logRetentionDays,
      removalPolicy: RemovalPolicy.DESTROY,
    });
    this.function = new lambda.Function(this, "Function", {
      functionName: name,
      description: row.description,
      runtime: lambda.Runtime.PROVIDED_AL2023,
      handler: "bootstrap",
      architecture: settings.of("Architecture") === "arm64" ? lambda.Architecture.ARM_64 : lambda.Architecture.X86_64,
      code: this.code(built ?? BUILT),
      memorySize: row.memory ?? MEMORY,
      timeout: Duration.seconds(row.timeout ?? settings.workerTimeout),
      // The role allows what its row says and nothing that a construct would add.
      role: this.role.withoutPolicyUpdates(),
      logGroup,
      loggingFormat: lambda.LoggingFormat.JSON,
      applicationLogLevelV2: LEVELS[settings.of("LogLevel")],
      tracing: lambda.Tracing.ACTIVE,
      // A job that waits or fails for a while comes back by a message of its own worker's, which Lambda would take for a loop.
      recursiveLoop: this.queues.lanes.length > 0 ? lambda.RecursiveLoop.ALLOW : undefined,
      // The next tick is the retry.
      retryAttempts: row.trigger.schedule ? 0 : undefined,
    });
    if (row.trigger.schedule) {
      acknowledge(this, "Serverless-LambdaAsyncFailureDestination", "A tick that failed is made up for by the next one.");
    }
    this.call();
    if (settings.isWatched) this.watch(stack.stackName);
  }

  /** What waits for the other functions and their queues. */
  connect(table: Table, named: Omit<Named, "ownLogs" | "ownQueues" | "ownDeadLetters">): void {
    const { row, settings } = this;
    const ownDeadLetters = this.queues.dead.map((dead) => dead.id);
    const own = { ownLogs: `${camel(row.name)}Logs`, ownQueues: this.queues.lanes.map((lane) => lane.id), ownDeadLetters };
    const grants = [
      ...table.grants.every,
      ...(own.ownQueues.length > 0 ? table.grants.queue : []),
      ...(row.trigger.stream ? table.grants.stream : []),
      ...row.grants,
    ];
    acknowledgeWide(this.role, row, grants);
    const statements = grants.map((grant) => statement(grant, row, { ...own, ...named }, settings, Stack.of(this)));
    const cfn = this.role.node.defaultChild as iam.CfnRole;
    cfn.policies = [{ policyName: "own", policyDocument: new iam.PolicyDocument({ statements }) }];

    this.function.addEnvironment("LOG_LEVEL", settings.of("LogLevel"));
    this.function.addEnvironment("STACK", Stack.of(this).stackName);
    const mail = settings.of("MailEndpoint");
    // Read by the SDK itself.
    if (mail !== "") this.function.addEnvironment("AWS_ENDPOINT_URL_SESV2", mail);
    for (const variable of row.env) {
      const value = table.variables[variable] as Record<string, unknown>;
      const dead = value["Ref"] === "own dead letters";
      this.function.addEnvironment(variable, settings.value(dead ? { Ref: ownDeadLetters[0] } : value));
    }
  }

  /** Whether it sends messages. */
  get sends(): boolean {
    const sends = this.row.grants.some((grant) => grant.actions.includes("sqs:SendMessage"));
    // Its trigger's grants let it send to its dead letters.
    return sends || this.queues.dead.length > 0;
  }

  get roleName(): string {
    return this.role.roleName;
  }

  private code(built: string): lambda.Code {
    const folder = path.join(built, this.row.name);
    if (!fs.existsSync(path.join(folder, "bootstrap"))) {
      throw new Error(`${folder}/bootstrap is not there: run \`make build\` first.`);
    }
    return lambda.Code.fromAsset(folder, { exclude: ["*", "!bootstrap"] });
  }

  private call(): void {
    for (const { queue, lane, event } of this.queues.lanes) {
      new lambda.EventSourceMapping(this, `Function${event}`, {
        target: this.function,
        eventSourceArn: queue.queueArn,
        batchSize: lane.batch,
        maxBatchingWindow: lane.window > 0 ? Duration.seconds(lane.window) : undefined,
        reportBatchItemFailures: true,
        maxConcurrency: lane.concurrency,
      });
    }
    const { stream } = this.row.trigger;
    if (stream) {
      const dead = this.queues.dead[0]!.queue;
      new lambda.CfnEventSourceMapping(this, "FunctionStream", {
        functionName: this.function.functionName,
        eventSourceArn: this.settings.value({ "Fn::Sub": `\${${stream.table}.StreamArn}` }),
        startingPosition: "TRIM_HORIZON",
        batchSize: stream.batch,
        maximumBatchingWindowInSeconds: stream.window,
        parallelizationFactor: stream.parallel,
        tumblingWindowInSeconds: stream.tumbling_seconds,
        functionResponseTypes: stream.partial_answers ? ["ReportBatchItemFailures"] : undefined,
        bisectBatchOnFunctionError: true,
        // As often as it takes, until the record is too old.
        maximumRetryAttempts: -1,
        maximumRecordAgeInSeconds: stream.max_age_seconds,
        filterCriteria: stream.filters && {
          filters: stream.filters.map((pattern) => ({ pattern: JSON.stringify(pattern) })),
        },
        destinationConfig: { onFailure: { destination: dead.queueArn } },
      });
    }
  }

  /** The schedule that calls it, by a role of the stack's. */
  tick(tick: Tick, roleArn: string): void {
    new scheduler.CfnSchedule(this, "Schedule", {
      description: tick.description,
      scheduleExpression: `rate(${tick.rate})`,
      flexibleTimeWindow: { mode: "OFF" },
      target: {
        arn: this.function.functionArn,
        roleArn,
        retryPolicy: { maximumEventAgeInSeconds: tick.max_age_seconds, maximumRetryAttempts: tick.retries },
      },
    });
  }

  /** LocalStack keeps schedules and does not fire them; rules it fires. */
  tickByRule(tick: Tick): void {
    const rule = new events.CfnRule(this, "Ticks", {
      description: tick.description,
      scheduleExpression: `rate(${tick.rate})`,
      targets: [{ id: this.row.name, arn: this.function.functionArn }],
    });
    new lambda.CfnPermission(this, "TicksPermission", {
      functionName: this.function.functionName,
      action: "lambda:InvokeFunction",
      principal: "events.amazonaws.com",
      sourceArn: rule.attrArn,
    });
    acknowledge(rule, "Serverless-EventBusDLQ", "A tick that failed is made up for by the next one.");
  }

  private watch(stack: string): void {
    const { name, trigger } = this.row;
    const of = { namespace: "AWS/Lambda", dimensions: { FunctionName: this.function.functionName } };
    const add = (id: string, watch: Omit<Parameters<typeof alarm>[4], "namespace">) =>
      alarm(this, id, this.settings, stack, { ...of, ...watch });
    add("ErrorsAlarm", {
      name: `${name}-errors`,
      description:
        `Invocations of ${name} failed, 3 or more in each of two periods of five minutes. ` +
        "Its log group says why; its messages come again.",
      metric: "Errors",
      statistic: "Sum",
      period: 300,
      periods: 2,
      threshold: 3,
      when: ">=",
    });
    add("ThrottlesAlarm", {
      name: `${name}-throttles`,
      description:
        `${name} was throttled for 15 minutes. The account's concurrency is used up: ask for more, or lower that of other lanes. ` +
        "No job is lost by it.",
      metric: "Throttles",
      statistic: "Sum",
      period: 300,
      periods: 3,
      threshold: 10,
      when: ">=",
    });
    if (trigger.schedule) {
      const silence = silenceOf(trigger.schedule.rate);
      add("TicksAlarm", {
        name: `${name}-ticks`,
        description:
          `${name} has not run for ${silence} s. Look whether its schedule is enabled and its role may call it; ` +
          "what is due waits, and none of it is lost.",
        metric: "Invocations",
        statistic: "Sum",
        period: silence,
        threshold: 1,
        when: "<",
        missing: "breaching",
      });
    }
    if (trigger.stream) {
      add("LagAlarm", {
        name: `${name}-lag`,
        description:
          `${name} is ten minutes behind the stream of ${trigger.stream.table}, which keeps a record for 24 hours. ` +
          "Its log group says what stops it.",
        metric: "IteratorAge",
        statistic: "Maximum",
        period: 60,
        periods: 5,
        threshold: 600_000,
        when: ">",
      });
    }
  }
}

/** Seconds of four ticks, within the periods that CloudWatch knows. */
function silenceOf(rate: string): number {
  const [number, unit] = rate.split(" ") as [string, string];
  const seconds = { minute: 60, hour: 3_600, day: 86_400 }[unit.replace(/s$/, "")];
  if (seconds === undefined) throw new Error(`rate(${rate}) counts minutes, hours or days`);
  return Math.min(Math.max(4 * seconds * Number(number), 300), 86_400);
}
