// The stack by itself: what it refuses, and what an owner can do with it.

import { App, CfnOutput, Stack, aws_cloudwatch as cloudwatch } from "aws-cdk-lib";
import { Annotations, Match, Template } from "aws-cdk-lib/assertions";
import * as assert from "node:assert/strict";
import { test } from "node:test";
import { MillraceStack } from "../lib";
import { readTable } from "../lib/table";
import { SENDER, built, stack } from "./site";

test("every row is a function with a role and a log group of its own", () => {
  const template = Template.fromStack(stack());
  const { functions } = readTable();
  template.resourceCountIs("AWS::Lambda::Function", functions.length);
  template.resourceCountIs("AWS::Logs::LogGroup", functions.length + 1);
  for (const { name } of functions) {
    template.hasResourceProperties("AWS::Lambda::Function", {
      FunctionName: `millrace-${name}`,
      Runtime: "provided.al2023",
      Handler: "bootstrap",
      TracingConfig: { Mode: "Active" },
    });
  }
});

test("a worker has a queue for each lane, with partial answers and dead letters", () => {
  const template = Template.fromStack(stack());
  const rows = readTable().functions;
  const lanes = rows.flatMap(({ trigger }) => [...(trigger.lanes ?? []), ...(trigger.queue ? [trigger.queue] : [])]);
  const ofQueues = { FunctionResponseTypes: ["ReportBatchItemFailures"], ScalingConfig: Match.anyValue() };
  const sources = template.findResources("AWS::Lambda::EventSourceMapping", { Properties: ofQueues });
  assert.equal(Object.keys(sources).length, lanes.length);
  const kept = template.findResources("AWS::SQS::Queue", {
    Properties: { SqsManagedSseEnabled: true, MessageRetentionPeriod: 1_209_600 },
  });
  assert.equal(Object.keys(kept).length, Object.keys(template.findResources("AWS::SQS::Queue")).length);
  template.hasResourceProperties("AWS::SQS::Queue", {
    QueueName: "millrace-echo-ordered.fifo",
    FifoQueue: true,
    RedrivePolicy: { maxReceiveCount: 1000, deadLetterTargetArn: { "Fn::GetAtt": ["EchoOrderedDeadLetterQueue", "Arn"] } },
  });
});

test("data outlives the stack, and that of production is protected", () => {
  const template = Template.fromStack(stack({ stage: "prod" }));
  for (const type of ["AWS::DynamoDB::Table", "AWS::S3::Bucket"]) {
    template.allResources(type, { DeletionPolicy: "Retain", UpdateReplacePolicy: "Retain" });
  }
  template.allResourcesProperties("AWS::DynamoDB::Table", { DeletionProtectionEnabled: true });
});

test("a wrong choice is refused", () => {
  const wrong: [object, string][] = [
    [{ domainName: "api.example.com" }, "A domainName needs a certificateArn."],
    [{ jwtIssuer: "https://id.example.com" }, "A jwtIssuer needs a jwtAudience."],
    [{ emulator: "localstack" }, "LocalStack has no HTTP API that a publicUrl could follow from."],
    [{ workerTimeout: 60 }, "visibilityTimeout is at least six times workerTimeout."],
    [{ sender: "nobody" }, "sender is an address, or a name and <address>."],
  ];
  for (const [props, text] of wrong) Annotations.fromStack(stack(props)).hasError("*", text);
  assert.throws(() => stack({ built: "/nowhere" }), /make build/);
});

test("an owner's app takes it in and goes on from it", () => {
  const app = new App({ analyticsReporting: false });
  const millrace = new MillraceStack(app, "jobs", { sender: SENDER, built: built() });
  const own = new Stack(app, "own");
  new CfnOutput(own, "Url", { value: millrace.http!.url });
  const errors = millrace.functions.get("echo")!.function.metricErrors();
  new cloudwatch.Alarm(own, "Echo", { metric: errors, threshold: 1, evaluationPeriods: 1 });
  Template.fromStack(own).resourceCountIs("AWS::CloudWatch::Alarm", 1);
  Template.fromStack(millrace).hasOutput("ApiUrl", {
    Value: { "Fn::Join": ["", ["https://", { Ref: "Api" }, ".execute-api.", { Ref: "AWS::Region" }, ".", { Ref: "AWS::URLSuffix" }]] },
  });
});
