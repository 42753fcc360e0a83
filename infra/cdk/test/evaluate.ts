// What a CloudFormation template would create for given parameters: conditions decided, functions worked out, the SAM
// transform applied, in a form in which two templates can be compared.

import * as fs from "node:fs";
import { ScalarTag, parse } from "yaml";

type Json = Record<string, any>;

export interface Resource {
  Type: string;
  Properties: Json;
  /** What becomes of it when the stack is deleted, and when it is replaced. */
  Policies: [string | undefined, string | undefined];
}

export interface Created {
  resources: Record<string, Resource>;
  outputs: Record<string, unknown>;
}

const PSEUDO: Record<string, string> = {
  "AWS::Region": "eu-west-1",
  "AWS::AccountId": "123456789012",
  "AWS::Partition": "aws",
  "AWS::URLSuffix": "amazonaws.com",
};

/** Nothing: the property is not there. */
const NONE = Symbol("no value");

/** Lists whose order means nothing, by the names of the properties. */
const SETS = new Set(["Action", "Resource", "Tags", "AttributeDefinitions", "sourceQueueArns", "Queues", "Roles"]);

export function readYaml(file: string): Json {
  const names = ["Ref", "Condition", "Sub", "GetAtt", "If", "Equals", "Not", "And", "Or", "FindInMap"];
  const full = (name: string) => (name === "Ref" || name === "Condition" ? name : `Fn::${name}`);
  const scalar = (name: string): ScalarTag => ({
    tag: `!${name}`,
    resolve: (text: string) => ({ [full(name)]: name === "GetAtt" ? text.split(/\.(.*)/, 2) : text }),
  });
  const list = (name: string) => ({
    tag: `!${name}`,
    collection: "seq" as const,
    resolve: (seq: any) => ({ [full(name)]: seq.toJSON() }),
  });
  const customTags: any = [...names.map(scalar), ...names.map(list)];
  return parse(fs.readFileSync(file, "utf8"), { customTags }) as Json;
}

export class Template {
  private readonly conditions: Record<string, boolean> = {};

  constructor(
    private readonly json: Json,
    private readonly parameters: Record<string, string>,
    stackName: string,
  ) {
    this.parameters = { ...PSEUDO, "AWS::StackName": stackName, ...defaults(json), ...parameters };
  }

  created(): Created {
    const resources: Record<string, Resource> = {};
    for (const [id, resource] of Object.entries(this.json.Resources as Json)) {
      if (resource.Condition && !this.holds(resource.Condition)) continue;
      for (const [name, each] of this.expand(id, resource)) {
        const properties = this.value(each.Properties ?? {});
        resources[name] = {
          Type: each.Type,
          Properties: tidy(properties) as Json,
          Policies: [each.DeletionPolicy, each.UpdateReplacePolicy],
        };
      }
    }
    const outputs: Record<string, unknown> = {};
    for (const [id, output] of Object.entries((this.json.Outputs ?? {}) as Json)) {
      if (output.Condition && !this.holds(output.Condition)) continue;
      outputs[id] = this.value({ value: output.Value, description: output.Description });
    }
    return { resources, outputs };
  }

  /** The SAM transform of a function, as far as this template uses it. */
  private expand(id: string, resource: Json): [string, Json][] {
    if (resource.Type !== "AWS::Serverless::Function") return [[id, resource]];
    const globals = this.json.Globals.Function as Json;
    const { CodeUri, Tracing, Events, EventInvokeConfig, Environment, Tags, ...own } = resource.Properties as Json;
    const variables = { ...globals.Environment.Variables, ...Environment?.Variables };
    const { Tracing: tracing, Tags: tags, Environment: _, ...general } = globals;
    const properties = {
      ...general,
      ...own,
      Environment: { Variables: variables },
      TracingConfig: { Mode: Tracing ?? tracing },
      Tags: Object.entries({ ...tags, ...Tags }).map(([Key, Value]) => ({ Key, Value })),
    };
    const found: [string, Json][] = [[id, { Type: "AWS::Lambda::Function", Properties: properties }]];
    if (EventInvokeConfig) {
      const config = { FunctionName: { Ref: id }, Qualifier: "$LATEST", ...EventInvokeConfig };
      found.push([`${id}EventInvokeConfig`, { Type: "AWS::Lambda::EventInvokeConfig", Properties: config }]);
    }
    for (const [name, event] of Object.entries((Events ?? {}) as Json)) {
      const { Queue, Stream, DestinationConfig, ...source } = event.Properties as Json;
      const failed = DestinationConfig && { OnFailure: { Destination: DestinationConfig.OnFailure.Destination } };
      const mapping = {
        ...source,
        FunctionName: { Ref: id },
        EventSourceArn: Queue ?? Stream,
        ...(failed ? { DestinationConfig: failed } : {}),
      };
      found.push([id + name, { Type: "AWS::Lambda::EventSourceMapping", Properties: mapping }]);
    }
    return found;
  }

  private holds(name: string): boolean {
    return (this.conditions[name] ??= this.value(this.json.Conditions[name]) === true);
  }

  private value(given: unknown): any {
    if (Array.isArray(given)) return given.map((each) => this.value(each)).filter((each) => each !== NONE);
    if (typeof given !== "object" || given === null) return given;
    const entries = Object.entries(given);
    const [name, of] = entries[0] ?? ["", undefined];
    if (entries.length === 1 && (name === "Ref" || name === "Condition" || name.startsWith("Fn::"))) {
      return this.called(name, of);
    }
    const values = entries.map(([key, value]) => [key, this.value(value)] as const);
    return Object.fromEntries(values.filter(([, value]) => value !== NONE));
  }

  private called(name: string, of: any): any {
    switch (name) {
      case "Condition":
        // In a policy it is the statement's own.
        return typeof of === "string" ? this.holds(of) : { Condition: this.value(of) };
      case "Ref":
        return of === "AWS::NoValue" ? NONE : (this.parameters[of] ?? `\${${of}}`);
      case "Fn::GetAtt":
        return `\${${(typeof of === "string" ? of : of.join("."))}}`;
      case "Fn::Sub":
        return (of as string).replace(/\$\{([^}]+)\}/g, (whole, name: string) => this.parameters[name] ?? whole);
      case "Fn::Join":
        return this.value(of[1]).join(of[0]);
      case "Fn::If":
        return this.value(this.holds(of[0]) ? of[1] : of[2]);
      case "Fn::Equals":
        return this.value(of[0]) === this.value(of[1]);
      case "Fn::Not":
        return !this.value(of[0]);
      case "Fn::And":
        return of.every((each: unknown) => this.value(each) === true);
      case "Fn::Or":
        return of.some((each: unknown) => this.value(each) === true);
      case "Fn::FindInMap": {
        const [map, first, second] = of.map((each: unknown) => this.value(each));
        return this.value(this.json.Mappings[map][first][second]);
      }
      default:
        throw new Error(`${name} is not known here`);
    }
  }
}

function defaults(json: Json): Record<string, string> {
  const parameters = Object.entries((json.Parameters ?? {}) as Json);
  return Object.fromEntries(parameters.filter(([, each]) => "Default" in each).map(([name, each]) => [name, `${each.Default}`]));
}

/** Without what makes no difference: code, the order of sets, one element or a list of it, numbers or their texts. */
function tidy(value: unknown, key = ""): unknown {
  if (Array.isArray(value)) {
    const all = value.map((each) => tidy(each));
    if (SETS.has(key)) all.sort((a, b) => (JSON.stringify(a) < JSON.stringify(b) ? -1 : 1));
    return all.length === 1 && typeof all[0] === "string" ? all[0] : all;
  }
  if (typeof value === "object" && value !== null) {
    const kept = Object.entries(value).filter(([name]) => name !== "Code");
    const sorted = kept.sort(([a], [b]) => (a < b ? -1 : 1));
    return Object.fromEntries(sorted.map(([name, each]) => [name, tidy(each, name)]));
  }
  if (key === "DashboardBody") return tidy(JSON.parse(value as string));
  if (key === "Pattern") return tidy(JSON.parse(value as string));
  return typeof value === "number" ? `${value}` : value;
}
