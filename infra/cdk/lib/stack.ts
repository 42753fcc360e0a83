// Millrace as a stack: what infra/template.yaml deploys, from the same table of functions.

import { Aws, CfnElement, CfnOutput, Stack, Tags, aws_iam as iam, aws_sqs as sqs } from "aws-cdk-lib";
import { Construct } from "constructs";
import { Monitoring } from "./dashboard";
import { Data, onlyTls } from "./data";
import { MillraceFunction } from "./function";
import { Http } from "./http";
import { Mail } from "./mail";
import { acknowledge } from "./reasons";
import { MillraceProps, Settings } from "./settings";
import { readTable } from "./table";

/** What is tagged with its stage, beside the HTTP API: what costs by itself. */
const TAGGED = [
  "AWS::DynamoDB::Table",
  "AWS::Lambda::Function",
  "AWS::S3::Bucket",
  "AWS::SES::ConfigurationSet",
  "AWS::SQS::Queue",
];

/**
 * All of Millrace. Its resources have the logical ids that `infra/template.yaml` gives them, so a stack that one of the two has
 * deployed may be updated by the other. The stack's name goes before the names of its queues and functions.
 */
export class MillraceStack extends Stack {
  readonly data: Data;
  /** Not on LocalStack, which has none. */
  readonly http?: Http;
  /** By their names in the table. */
  readonly functions: ReadonlyMap<string, MillraceFunction>;

  constructor(scope: Construct, id: string, props: MillraceProps) {
    super(scope, id, { description: "Millrace: web request, durable queue, worker.", ...props });
    const table = readTable();
    const settings = new Settings(this, props);
    const streamed = table.functions.flatMap((row) => (row.trigger.stream ? [row.trigger.stream.table] : []));
    this.data = new Data(this, settings, new Set(streamed));
    const functions = table.functions.map((row) => new MillraceFunction(this, row, settings, props.built));
    this.functions = new Map(functions.map((each) => [each.row.name, each]));

    const workers = functions.filter((each) => each.row.trigger.lanes);
    const named = {
      jobQueues: workers.flatMap((each) => each.queues.lanes.map((lane) => lane.id)),
      jobDeadLetters: workers.flatMap((each) => each.queues.dead.map((dead) => dead.id)),
    };
    for (const each of functions) each.connect(table, named);

    const feedback = this.functions.get("feedback")!.queues.lanes[0]!.queue;
    let mail: Mail | undefined;
    if (settings.isWhole) {
      this.http = new Http(this, functions, settings);
      mail = new Mail(this, this.stackName, settings.of("TrackingDomain"), feedback.queueArn);
    }
    this.schedules(functions, settings);
    this.policies(functions, settings, mail);
    const asynchronous = "It is for asynchronous calls: queues have dead letters, and a tick's retry is the next tick.";
    acknowledge(this, "Serverless-LambdaDLQ", asynchronous);
    const letters = "A queue's event source can have none: what fails goes to the queue's dead letters.";
    acknowledge(this, "Serverless-LambdaEventSourceMappingDestination", letters);
    if (settings.isLocal) {
      const plain = "The local engine and LocalStack speak plain HTTP on the loopback interface.";
      for (const rule of ["AwsSolutions-SQS4", "AwsSolutions-S10"]) acknowledge(this, rule, plain);
    }
    if (settings.isWatched) new Monitoring(this, functions, settings);
    this.outputs(functions, settings);
    Tags.of(this).add("stage", settings.of("Stage"), { includeResourceTypes: TAGGED });
  }

  /** The path of a construct without its folders, whose ids are in small letters: `data/JobsTable` is `JobsTable`. */
  protected allocateLogicalId(element: CfnElement): string {
    const path = element.node.scopes.slice(this.node.scopes.length).map((scope) => scope.node.id);
    return path.filter((id) => id !== "Resource" && !/^[a-z]/.test(id)).join("").replace(/[^A-Za-z0-9]/g, "");
  }

  private schedules(functions: MillraceFunction[], settings: Settings): void {
    const ticking = functions.filter((each) => each.row.trigger.schedule);
    if (!settings.isWhole) {
      for (const each of ticking) each.tickByRule(each.row.trigger.schedule!);
      return;
    }
    const role = new iam.Role(this, "ScheduleRole", {
      assumedBy: new iam.ServicePrincipal("scheduler.amazonaws.com", {
        conditions: { StringEquals: { "aws:SourceAccount": Aws.ACCOUNT_ID } },
      }),
      inlinePolicies: {
        own: new iam.PolicyDocument({
          statements: [
            new iam.PolicyStatement({
              actions: ["lambda:InvokeFunction"],
              resources: ticking.map((each) => each.function.functionArn),
            }),
          ],
        }),
      },
    });
    for (const each of ticking) each.tick(each.row.trigger.schedule!, role.roleArn);
  }

  /** What a queue allows, and to whom. */
  private policies(functions: MillraceFunction[], settings: Settings, mail: Mail | undefined): void {
    const shared: string[] = [];
    for (const { queues, node } of functions) {
      for (const { queue, fedBy } of queues.lanes) {
        if (!fedBy) {
          shared.push(queue.queueUrl);
          continue;
        }
        // On LocalStack the mailbox tells the queue itself.
        if (!mail) continue;
        if (fedBy !== mail.rule.node.id) throw new Error(`there is no rule ${fedBy}`);
        const allowed = {
          Sid: fedBy.replace("Rule", ""),
          Effect: "Allow",
          Principal: { Service: "events.amazonaws.com" },
          Action: "sqs:SendMessage",
          Resource: queue.queueArn,
          Condition: { ArnEquals: { "aws:SourceArn": mail.rule.attrArn } },
        };
        new sqs.CfnQueuePolicy(this, `${node.id}QueuePolicy`, {
          queues: [queue.queueUrl],
          policyDocument: settings.isLocal
            ? { Version: "2012-10-17", Statement: [allowed] }
            : onlyTls("sqs:*", queue.queueArn, allowed),
        });
      }
      shared.push(...queues.dead.map((dead) => dead.queue.queueUrl));
    }
    if (settings.isLocal) {
      // AWS allows a batch to whoever may send; the local engine asks for the batch call by its own name.
      const batches = new iam.CfnPolicy(this, "LocalBatches", {
        policyName: "batches",
        roles: functions.filter((each) => each.sends).map((each) => each.roleName),
        policyDocument: {
          Version: "2012-10-17",
          Statement: [
            {
              Effect: "Allow",
              Action: "sqs:SendMessageBatch",
              Resource: `arn:${Aws.PARTITION}:sqs:${Aws.REGION}:${Aws.ACCOUNT_ID}:${this.stackName}-*`,
            },
          ],
        },
      });
      const own = `AwsSolutions-IAM5[Resource::arn:<AWS::Partition>:sqs:<AWS::Region>:<AWS::AccountId>:${this.stackName}-*]`;
      acknowledge(batches, own, "All of the stack's own queues, on an emulator.");
    } else {
      // In the policy of a queue the star means that queue.
      new sqs.CfnQueuePolicy(this, "QueuePolicy", { queues: shared, policyDocument: onlyTls("sqs:*", "*") });
    }
  }

  private outputs(functions: MillraceFunction[], settings: Settings): void {
    const folder = new Construct(this, "outputs");
    const output = (id: string, value: string, description: string) => new CfnOutput(folder, id, { value, description });
    if (this.http) {
      output("ApiUrl", this.http.url, "Base of the HTTP API.");
      output("ApiId", this.http.api.ref, "Id of the HTTP API.");
    }
    if (this.http?.domain) {
      const target = this.http.domain.attrRegionalDomainName;
      output("DomainTarget", target, "What DNS has to say of DomainName, an alias or CNAME to this.");
    }
    output("JobsTable", this.data.jobs.tableName, "Table of the jobs.");
    output("MailTable", this.data.mail.tableName, "Table of users, subscribers and campaigns.");
    output("OutboxTable", this.data.outbox.tableName, "Table of counts and groups.");
    output("KeysTable", this.data.keys.tableName, "Table of the API keys, for `millrace keys create`.");
    output("Bucket", this.data.bucket.bucketName, "Bucket of large payloads, results and letters.");
    const urls = settings.text("https://sqs.${AWS::Region}.${AWS::URLSuffix}/${AWS::AccountId}/");
    const what = "What the URLs of the job queues begin with; the worker's name and lane follow.";
    output("JobQueues", `${urls}${this.stackName}-`, what);
    for (const { queues, row } of functions) {
      for (const { queue, lane, id } of queues.lanes) {
        const of = lane.lane === "normal" ? "Queue of" : `Lane ${lane.lane} of`;
        output(`${id}Url`, queue.queueUrl, `${of} ${row.name}.`);
      }
      for (const { queue, id, fifo } of queues.dead) {
        const stream = row.trigger.stream?.table;
        const what = stream
          ? `Where the records are listed that ${row.name} could not take from ${stream}.`
          : `What no worker of ${row.name}${fifo ? "'s lane ordered" : ""} could read.`;
        output(`${id}Url`, queue.queueUrl, what);
      }
    }
  }
}

