// Why a rule of cdk-nag is not followed: each with its reason, at what it is about.

import { Validations } from "aws-cdk-lib";
import { IConstruct } from "constructs";
import { Grant, Row } from "./table";

export function acknowledge(about: IConstruct, rule: string, reason: string): void {
  const [pack] = rule.split("-", 1) as [string];
  Validations.of(about).acknowledge({ id: `${pack}::${rule}`, reason });
}

/** What a role allows widely has its reason in the table. */
export function acknowledgeWide(role: IConstruct, row: Row, grants: Grant[]): void {
  const reasons = new Map<string, Set<string>>();
  for (const { on, why } of grants) {
    for (const resource of on.map((name) => asReported(name, row)).filter((name) => name.includes("*"))) {
      if (!why) throw new Error(`${row.name}: ${resource} is allowed without a reason`);
      reasons.set(resource, (reasons.get(resource) ?? new Set()).add(why));
    }
  }
  for (const [resource, why] of reasons) {
    const reason = [...why].join(" ");
    acknowledge(role, `AwsSolutions-IAM5[Resource::${resource}]`, reason);
    if (resource === "*") acknowledge(role, "Serverless-LambdaStarPermissions", reason);
  }
}

/** A grant's resource as cdk-nag names it. */
function asReported(on: string, row: Row): string {
  if (on === "own stream") return `<${row.trigger.stream!.table}.Arn>/stream/*`;
  const colon = on.indexOf(":");
  if (colon >= 0) {
    return `arn:<AWS::Partition>:${on.slice(0, colon)}:<AWS::Region>:<AWS::AccountId>${on.slice(colon)}`;
  }
  const slash = on.indexOf("/");
  return slash < 0 ? on : `<${on.slice(0, slash)}.Arn>${on.slice(slash)}`;
}
