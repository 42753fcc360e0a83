// Alarms of the whole stack, and its dashboard.

import { Aws, Stack, aws_cloudwatch as cloudwatch } from "aws-cdk-lib";
import { Construct } from "constructs";
import { alarm } from "./alarms";
import { MillraceFunction } from "./function";
import { Settings } from "./settings";

/** Namespace of the metrics that the functions count. */
const OWN = "Millrace";

export class Monitoring extends Construct {
  constructor(scope: Construct, functions: MillraceFunction[], settings: Settings) {
    super(scope, "monitoring");
    const { stackName } = Stack.of(this);
    const own = { namespace: OWN, dimensions: { Stack: stackName }, statistic: "Sum", period: 300, when: ">=" } as const;
    alarm(this, "DeadJobsAlarm", settings, stackName, {
      ...own,
      name: "dead-jobs",
      description:
        "Ten jobs died within five minutes. `millrace jobs list --state dead` shows them and their errors; " +
        "retry them when the cause is gone.",
      metric: "JobsDead",
      threshold: 10,
    });
    alarm(this, "UnknownRecipientsAlarm", settings, stackName, {
      ...own,
      name: "unknown-recipients",
      description:
        "Of some recipients of a campaign it is not known whether SES took their mail. " +
        "See whether events arrive on the feedback queue; the campaign's account names the recipients.",
      metric: "RecipientsUnknown",
      threshold: 1,
    });
    alarm(this, "MailQuotaAlarm", settings, stackName, {
      ...own,
      name: "mail-quota",
      description:
        "80 % of SES's daily quota are used; at 85 % campaigns pause until there is room again, and the rest is for single mails. " +
        "Ask AWS for a higher quota, or send less in a day.",
      metric: "MailQuotaUsed",
      statistic: "Maximum",
      threshold: 80,
    });
    const mails = { namespace: "AWS/SES", statistic: "Average", period: 3_600, when: ">", missing: "ignore" } as const;
    alarm(this, "BouncesAlarm", settings, stackName, {
      ...mails,
      name: "bounces",
      description:
        "More than 4 % of the account's mails bounce; from 5 % on AWS reviews it, at 10 % it may stop sending. " +
        "Stop the campaign and see where its addresses come from.",
      metric: "Reputation.BounceRate",
      threshold: 0.04,
    });
    alarm(this, "ComplaintsAlarm", settings, stackName, {
      ...mails,
      name: "complaints",
      description:
        "More than 0.08 % of the account's mails are reported as spam; from 0.1 % on AWS reviews it, at 0.5 % it may stop sending. " +
        "Stop the campaign and see who asked for it.",
      metric: "Reputation.ComplaintRate",
      threshold: 0.0008,
    });
    if (!settings.isWhole) return;
    new cloudwatch.CfnDashboard(this, "Dashboard", {
      dashboardName: stackName,
      dashboardBody: JSON.stringify({ widgets: widgets(functions, stackName) }),
    });
  }
}

function widgets(functions: MillraceFunction[], stack: string): object[] {
  const queues = functions.flatMap((each) => each.queues.lanes.map((lane) => `${stack}-${lane.name}`));
  const names = functions.map((each) => `${stack}-${each.row.name}`);
  const widget = (x: number, y: number, title: string, stat: string, period: number, metrics: string[][]) => ({
    type: "metric",
    x,
    y,
    width: 12,
    height: 6,
    properties: { title, region: Aws.REGION, stat, period, view: "timeSeries", metrics },
  });
  const ofQueues = (metric: string) => queues.map((queue) => ["AWS/SQS", metric, "QueueName", queue]);
  const ofFunctions = (metric: string) => names.map((name) => ["AWS/Lambda", metric, "FunctionName", name]);
  return [
    widget(0, 0, "Oldest message of each queue (s)", "Maximum", 60, ofQueues("ApproximateAgeOfOldestMessage")),
    widget(12, 0, "Messages that wait", "Maximum", 60, ofQueues("ApproximateNumberOfMessagesVisible")),
    widget(0, 6, "Invocations", "Sum", 60, ofFunctions("Invocations")),
    widget(12, 6, "Errors", "Sum", 60, ofFunctions("Errors")),
    widget(0, 12, "95 % of the invocations take at most (ms)", "p95", 60, ofFunctions("Duration")),
    widget(12, 12, "Throttles", "Sum", 60, ofFunctions("Throttles")),
    widget(0, 18, "Dead jobs, recipients of unknown outcome", "Sum", 300, [
      [OWN, "JobsDead", "Stack", stack],
      [OWN, "RecipientsUnknown", "Stack", stack],
    ]),
    widget(12, 18, "Bounces and complaints of the account", "Average", 3_600, [
      ["AWS/SES", "Reputation.BounceRate"],
      ["AWS/SES", "Reputation.ComplaintRate"],
    ]),
  ];
}
