// What a row of the table allows, as statements of its function's role.

import { ArnFormat, Fn, Stack, aws_iam as iam } from "aws-cdk-lib";
import { Settings } from "./settings";
import { Grant, Row } from "./table";

/** What the names in a grant that are no resource's stand for. */
export interface Named {
  readonly ownLogs: string;
  readonly ownQueues: string[];
  readonly ownDeadLetters: string[];
  /** The queues of all workers, and of their dead letters. */
  readonly jobQueues: string[];
  readonly jobDeadLetters: string[];
}

export function statement(grant: Grant, row: Row, named: Named, settings: Settings, stack: Stack): iam.PolicyStatement {
  const resources = grant.on.flatMap((on) => arns(on, row, named, settings, stack));
  if (resources.length === 0) throw new Error(`${row.name}: ${grant.on.join(", ")} is nothing to allow`);
  return new iam.PolicyStatement({ actions: grant.actions, resources, conditions: grant.condition });
}

function arns(on: string, row: Row, named: Named, settings: Settings, stack: Stack): string[] {
  const arn = (id: string) => Fn.getAtt(id, "Arn").toString();
  switch (on) {
    case "*":
      return ["*"];
    case "own logs":
      return [arn(named.ownLogs)];
    case "own queues":
      return named.ownQueues.map(arn);
    case "own dead letters":
      return named.ownDeadLetters.map(arn);
    case "job queues":
      return named.jobQueues.map(arn);
    case "job dead letters":
      return named.jobDeadLetters.map(arn);
    case "own stream":
      return row.trigger.stream ? [`${arn(row.trigger.stream.table)}/stream/*`] : [];
  }
  const [service, resource] = on.split(/:(.*)/, 2) as [string, string | undefined];
  if (resource !== undefined) {
    const text = settings.text(resource);
    return [stack.formatArn({ service, resource: text, arnFormat: ArnFormat.NO_RESOURCE_NAME })];
  }
  const [id, path] = on.split(/\/(.*)/, 2) as [string, string | undefined];
  return [path === undefined ? arn(id) : `${arn(id)}/${path}`];
}
