// The two ways to deploy create the same: infra/template.yaml by SAM, and this stack.

import * as assert from "node:assert/strict";
import { test } from "node:test";
import { isDeepStrictEqual } from "node:util";
import { MillraceProps } from "../lib";
import { SAM_TEMPLATE } from "../lib/table";
import { Created, Template, readYaml } from "./evaluate";
import { LOCALSTACK, SENDER, synthesised } from "./site";

/** Of the CDK's own: how its assets get to AWS. */
const OWN_OF_CDK = /^(BootstrapVersion|CheckBootstrapVersion)$/;

const TOPIC = "arn:aws:sns:eu-west-1:123456789012:alarms";

const CHOICES: Record<string, Partial<MillraceProps>> = {
  "with nothing chosen": {},
  "in production, watched": { stage: "prod", alarmTopic: TOPIC, eventBus: "default", logLevel: "warn", logRetentionDays: 365 },
  "with a domain and an identity provider": {
    domainName: "api.example.com",
    certificateArn: "arn:aws:acm:eu-west-1:123456789012:certificate/1",
    trackingDomain: "links.example.com",
    jwtIssuer: "https://id.example.com",
    jwtAudience: "millrace",
    jwtTenantClaim: "org",
  },
  "on the local engine": {
    localApiId: "0123abcd",
    publicUrl: "http://127.0.0.1:4566",
    architecture: "x86_64",
    workerTimeout: 10,
    visibilityTimeout: 15,
    settleSeconds: 5,
    newsletterRate: 200,
  },
  "on LocalStack": {
    ...LOCALSTACK,
    architecture: "x86_64",
    // None of these has an effect there.
    domainName: "api.example.com",
    certificateArn: "arn:aws:acm:eu-west-1:123456789012:certificate/1",
    jwtIssuer: "https://id.example.com",
    jwtAudience: "millrace",
    alarmTopic: TOPIC,
  },
};

/** LocalStack 4.14.0 has none of these without a licence, or does not act on them. */
const LACKING = /^AWS::(ApiGatewayV2|SES|Scheduler)::|^AWS::CloudWatch::Dashboard$/;

/** `stage` as the parameter `Stage`. */
function parameters(props: Partial<MillraceProps>): Record<string, string> {
  const all = Object.entries({ sender: SENDER, ...props });
  return Object.fromEntries(all.map(([name, value]) => [name.charAt(0).toUpperCase() + name.slice(1), String(value)]));
}

function bySam(props: Partial<MillraceProps>, change: (json: any) => void = () => undefined): Created {
  const json = readYaml(SAM_TEMPLATE);
  change(json);
  return new Template(json, parameters(props), "millrace").created();
}

function byCdk(props: Partial<MillraceProps>): Created {
  const { resources, outputs } = new Template(synthesised(props), {}, "millrace").created();
  const kept = Object.entries(resources).filter(([id]) => !OWN_OF_CDK.test(id));
  return { resources: Object.fromEntries(kept), outputs };
}

for (const [name, props] of Object.entries(CHOICES)) {
  test(`CDK and SAM create the same ${name}`, () => {
    const [cdk, sam] = [byCdk(props), bySam(props)];
    assert.deepEqual(Object.keys(cdk.resources).sort(), Object.keys(sam.resources).sort());
    const differing = (id: string) => !isDeepStrictEqual(cdk.resources[id], sam.resources[id]);
    const ids = Object.keys(sam.resources).filter(differing);
    const only = (created: Created) => Object.fromEntries(ids.map((id) => [id, created.resources[id]]));
    assert.deepEqual(only(cdk), only(sam));
    assert.deepEqual(cdk.outputs, sam.outputs);
  });
}

test("what LocalStack lacks is not created there, and something ticks", () => {
  const whole = Object.values(bySam({ alarmTopic: TOPIC }).resources);
  const { resources, outputs } = bySam({ ...LOCALSTACK, alarmTopic: TOPIC });
  const types = (all: { Type: string }[]) => all.map(({ Type }) => Type);
  assert.ok(types(whole).some((type) => LACKING.test(type)));
  assert.deepEqual(types(Object.values(resources)).filter((type) => LACKING.test(type)), []);
  const absent = (text: string) => /^(Api|Api(Stage|Authorizer)|Domain|ConfigurationSet|MailEventsRule)(\.|$)/.test(text);
  const named = [...JSON.stringify({ resources, outputs }).matchAll(/\$\{(\w+(\.\w+)?)\}/g)].map((match) => match[1]!);
  assert.deepEqual(named.filter(absent), []);
  const ticks = Object.values(resources).filter(({ Properties }) => "ScheduleExpression" in Properties);
  assert.deepEqual(ticks.map(({ Type }) => Type), ["AWS::Events::Rule", "AWS::Events::Rule"]);
  const { Variables } = resources["EmailFunction"]!.Properties.Environment;
  assert.equal(Variables.AWS_ENDPOINT_URL_SESV2, LOCALSTACK.mailEndpoint);
  assert.equal(Variables.PUBLIC_URL, LOCALSTACK.publicUrl);
  assert.equal(Variables.MAIL_CONFIGURATION_SET, "millrace");
});

test("the comparison sees each kind of thing that may be missing", () => {
  const props = { alarmTopic: TOPIC };
  const cdk = byCdk(props);
  const changes: Record<string, (resources: any) => void> = {
    "a function's memory": (r) => delete r.ApiFunction.Properties.MemorySize,
    "a variable": (r) => delete r.EchoFunction.Properties.Environment.Variables.BUCKET,
    "a queue's retention": (r) => delete r.EchoHighQueue.Properties.MessageRetentionPeriod,
    "an event source": (r) => delete r.EchoFunction.Properties.Events.LowQueue,
    "partial answers": (r) => delete r.EchoFunction.Properties.Events.Queue.Properties.FunctionResponseTypes,
    "a schedule's retries": (r) => delete r.ClockSchedule.Properties.Target.RetryPolicy,
    "a role's statement": (r) => r.EchoRole.Properties.Policies[0].PolicyDocument.Statement.pop(),
    "an action": (r) => r.ClockRole.Properties.Policies[0].PolicyDocument.Statement.at(-1).Resource.pop(),
    "an alarm": (r) => delete r.OutboxLagAlarm,
    "a threshold": (r) => delete r.DeadJobsAlarm.Properties.Threshold,
    "a table's stream": (r) => delete r.JobsTable.Properties.StreamSpecification,
  };
  for (const [what, change] of Object.entries(changes)) {
    const sam = bySam(props, (json) => change(json.Resources));
    assert.notDeepEqual(cdk.resources, sam.resources, what);
  }
});
