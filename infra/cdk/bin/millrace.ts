// The stack by itself, chosen on the command line: cdk deploy -c sender=news@example.com -c stage=prod

import { App } from "aws-cdk-lib";
import { MillraceProps, MillraceStack } from "../lib";

const NUMBERS = ["logRetentionDays", "workerTimeout", "visibilityTimeout", "settleSeconds", "newsletterRate"];
const TEXTS = [
  "sender", "architecture", "stage", "logLevel", "eventBus", "publicUrl", "domainName", "certificateArn",
  "jwtIssuer", "jwtAudience", "jwtTenantClaim", "alarmTopic", "localApiId", "emulator", "mailEndpoint", "built",
];

const app = new App();
const chosen: Record<string, string | number> = {};
for (const name of [...NUMBERS, ...TEXTS]) {
  const value: unknown = app.node.tryGetContext(name);
  if (value !== undefined) chosen[name] = NUMBERS.includes(name) ? Number(value) : String(value);
}
if (!chosen["sender"]) throw new Error("whose mails are sent? Give -c sender=news@example.com");
new MillraceStack(app, String(app.node.tryGetContext("stackName") ?? "millrace"), chosen as unknown as MillraceProps);
app.synth();
