// What SES is told, and what it tells.

import { Aws, aws_events as events, aws_ses as ses } from "aws-cdk-lib";
import { Construct } from "constructs";
import { acknowledge } from "./reasons";

export class Mail extends Construct {
  /** Rule that leads SES's events to the feedback queue. */
  readonly rule: events.CfnRule;

  constructor(scope: Construct, stackName: string, trackingDomain: string, feedbackQueueArn: string) {
    super(scope, "mail");
    const types = ["send", "delivery", "deliveryDelay", "bounce", "complaint", "reject", "renderingFailure"];
    const set = this.set("ConfigurationSet", "MailEvents", stackName, types);
    // SES puts its pixel and its links into the mails of no other set.
    const domain = trackingDomain === "" ? undefined : { customRedirectDomain: trackingDomain };
    const tracked = this.set(
      "TrackedConfigurationSet",
      "TrackedMailEvents",
      `${stackName}-tracked`,
      [...types, "open", "click"],
      domain,
    );
    this.rule = new events.CfnRule(this, "MailEventsRule", {
      description: "What SES reports about mails of this stack, to its feedback queue.",
      eventPattern: { source: ["aws.ses"], detail: { mail: { tags: { "ses:configuration-set": [set.ref, tracked.ref] } } } },
      targets: [{ id: "feedback", arn: feedbackQueueArn, inputPath: "$.detail" }],
    });
    const reason = "EventBridge tries for 24 hours; a mail whose event is lost is settled by the clock.";
    acknowledge(this.rule, "Serverless-EventBusDLQ", reason);
  }
  /** A configuration set, and what SES tells of its mails. */
  private set(
    id: string,
    eventsId: string,
    name: string,
    matchingEventTypes: string[],
    trackingOptions?: ses.CfnConfigurationSet.TrackingOptionsProperty,
  ): ses.CfnConfigurationSet {
    const set = new ses.CfnConfigurationSet(this, id, {
      name,
      reputationOptions: { reputationMetricsEnabled: true },
      sendingOptions: { sendingEnabled: true },
      suppressionOptions: { suppressedReasons: ["BOUNCE", "COMPLAINT"] },
      trackingOptions,
    });
    new ses.CfnConfigurationSetEventDestination(this, eventsId, {
      configurationSetName: set.ref,
      eventDestination: {
        name: "events",
        enabled: true,
        matchingEventTypes,
        // SES knows only the default bus.
        eventBridgeDestination: {
          eventBusArn: `arn:${Aws.PARTITION}:events:${Aws.REGION}:${Aws.ACCOUNT_ID}:event-bus/default`,
        },
      },
    });
    return set;
  }
}
