// Alarms: each says in its description what to do.

import { aws_cloudwatch as cloudwatch } from "aws-cdk-lib";
import { Construct } from "constructs";
import { Settings } from "./settings";

export interface Watch {
  /** After the stack's name. */
  readonly name: string;
  readonly description: string;
  readonly namespace: string;
  readonly metric: string;
  readonly dimensions?: Record<string, string>;
  readonly statistic: "Maximum" | "Sum" | "Average";
  /** Seconds. */
  readonly period: number;
  readonly periods?: number;
  readonly threshold: number;
  readonly when: ">" | ">=" | "<";
  readonly missing?: "notBreaching" | "breaching" | "ignore";
  /** Told, too, when it is over. */
  readonly over?: boolean;
}

const COMPARISONS = {
  ">": "GreaterThanThreshold",
  ">=": "GreaterThanOrEqualToThreshold",
  "<": "LessThanThreshold",
} as const;

export function alarm(scope: Construct, id: string, settings: Settings, stack: string, watch: Watch): void {
  const topic = settings.isWatched ? [settings.of("AlarmTopic")] : undefined;
  new cloudwatch.CfnAlarm(scope, id, {
    alarmName: `${stack}-${watch.name}`,
    alarmDescription: watch.description,
    alarmActions: topic,
    okActions: watch.over === false ? undefined : topic,
    namespace: watch.namespace,
    metricName: watch.metric,
    dimensions: watch.dimensions && Object.entries(watch.dimensions).map(([name, value]) => ({ name, value })),
    statistic: watch.statistic,
    period: watch.period,
    evaluationPeriods: watch.periods ?? 1,
    threshold: watch.threshold,
    comparisonOperator: COMPARISONS[watch.when],
    treatMissingData: watch.missing ?? "notBreaching",
  });
}
