// What SES is told, and what it tells.

import { Aws, aws_events as events, aws_ses as ses } from "aws-cdk-lib";
import { Construct } from "constructs";
import { acknowledge } from "./reasons";

export class Mail extends Construct {
  /** Rule that leads SES's events to the feedback queue. */
  readonly rule: events.CfnRule;

  constructor(scope: Construct, stackName: string, feedbackQueueArn: string) {
    super(scope, "mail");
    const set = new ses.CfnConfigurationSet(this, "ConfigurationSet", {
      name: stackName,
      reputationOptions: { reputationMetricsEnabled: true },
      sendingOptions: { sendingEnabled: true },
      suppressionOptions: { suppressedReasons: ["BOUNCE", "COMPLAINT"] },
    });
    new ses.CfnConfigurationSetEventDestination(this, "MailEvents", {
      configurationSetName: set.ref,
      eventDestination: {
        name: "events",
        enabled: true,
        matchingEventTypes: ["send", "delivery", "deliveryDelay", "bounce", "complaint", "reject", "renderingFailure"],
        // SES knows only the default bus.
        eventBridgeDestination: {
          eventBusArn: `arn:${Aws.PARTITION}:events:${Aws.REGION}:${Aws.ACCOUNT_ID}:event-bus/default`,
        },
      },
    });
    this.rule = new events.CfnRule(this, "MailEventsRule", {
      description: "What SES reports about mails of this stack, to its feedback queue.",
      eventPattern: { source: ["aws.ses"], detail: { mail: { tags: { "ses:configuration-set": [set.ref] } } } },
      targets: [{ id: "feedback", arn: feedbackQueueArn, inputPath: "$.detail" }],
    });
    const reason = "EventBridge tries for 24 hours; a mail whose event is lost is settled by the clock.";
    acknowledge(this.rule, "Serverless-EventBusDLQ", reason);
  }
}
