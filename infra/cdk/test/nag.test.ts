// cdk-nag's rules of AWS's solutions and of serverless applications find nothing but what has a reason.

import { App, Stack, Validations, aws_sqs as sqs } from "aws-cdk-lib";
import { AwsSolutionsChecks, ServerlessChecks } from "cdk-nag";
import * as assert from "node:assert/strict";
import * as fs from "node:fs";
import * as os from "node:os";
import * as path from "node:path";
import { test } from "node:test";
import { LOCALSTACK, stack } from "./site";

/** Throws when cdk-nag finds something. */
function checked(build: (app: App) => void): void {
  const outdir = fs.mkdtempSync(path.join(os.tmpdir(), "millrace-nag-"));
  const code = process.exitCode;
  try {
    const app = new App({ outdir, analyticsReporting: false });
    Validations.of(app).addPlugins(new AwsSolutionsChecks(app), new ServerlessChecks(app));
    build(app);
    app.synth();
  } finally {
    fs.rmSync(outdir, { recursive: true, force: true });
    // The CDK lets the process fail by it, too.
    process.exitCode = code;
  }
}

test("cdk-nag finds nothing that has no reason", () => {
  const alarmTopic = "arn:aws:sns:eu-west-1:123456789012:alarms";
  checked((app) => stack({ stage: "prod", alarmTopic }, app));
  checked((app) => stack({ ...LOCALSTACK, alarmTopic }, app));
});

test("cdk-nag would find something", () => {
  assert.throws(() => checked((app) => new sqs.Queue(new Stack(app, "other"), "Bare")), /Validation failed/);
});
