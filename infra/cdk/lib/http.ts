// The HTTP API in front of the functions that have a route.

import { Aws, RemovalPolicy, Stack, aws_apigatewayv2 as gateway, aws_lambda as lambda, aws_logs as logs } from "aws-cdk-lib";
import { Construct } from "constructs";
import { MillraceFunction } from "./function";
import { acknowledge } from "./reasons";
import { Settings } from "./settings";

/** Neither address nor path: they may name a person. */
const ACCESS_LOG =
  '{"request_id":"$context.requestId","time":"$context.requestTime","method":"$context.httpMethod", ' +
  '"status":"$context.status","bytes":"$context.responseLength","latency_ms":"$context.responseLatency", ' +
  '"integration_error":"$context.integrationErrorMessage"}';

export class Http extends Construct {
  readonly api: gateway.CfnApi;
  readonly url: string;
  readonly domain?: gateway.CfnDomainName;

  constructor(scope: Construct, functions: MillraceFunction[], settings: Settings) {
    super(scope, "http");
    const stack = Stack.of(this);
    // Tags of the whole stack do not reach a map of tags that is given.
    const tags = { stage: settings.of("Stage") };
    this.api = new gateway.CfnApi(this, "Api", {
      name: stack.stackName,
      protocolType: "HTTP",
      tags: settings.isLocal ? { ...tags, "ms-custom-id": settings.of("LocalApiId") } : tags,
    });
    const apiId = this.api.ref;
    for (const { row, function: target, node } of functions) {
      if (!row.trigger.http) continue;
      const integration = new gateway.CfnIntegration(this, `${node.id}Integration`, {
        apiId,
        integrationType: "AWS_PROXY",
        integrationUri: target.functionArn,
        payloadFormatVersion: "2.0",
      });
      new gateway.CfnRoute(this, `${node.id}Route`, {
        apiId,
        routeKey: row.trigger.http.route,
        // The function checks the API keys itself: some of its routes are public.
        authorizationType: "NONE",
        target: `integrations/${integration.ref}`,
      });
      new lambda.CfnPermission(this, `${node.id}Permission`, {
        functionName: target.functionName,
        action: "lambda:InvokeFunction",
        principal: "apigateway.amazonaws.com",
        sourceArn: `arn:${Aws.PARTITION}:execute-api:${Aws.REGION}:${Aws.ACCOUNT_ID}:${apiId}/*`,
      });
      if (row.name === "api" && settings.hasJwt) this.tokens(integration, settings);
    }
    acknowledge(this, "AwsSolutions-APIG4", "The function checks the API keys itself: some of its routes are public.");
    const accessLogs = new logs.LogGroup(this, "ApiAccessLogs", {
      logGroupName: `/aws/vendedlogs/${stack.stackName}-http`,
      retention: settings.logRetentionDays,
      removalPolicy: RemovalPolicy.DESTROY,
    });
    const stage = new gateway.CfnStage(this, "ApiStage", {
      apiId,
      stageName: "$default",
      autoDeploy: true,
      defaultRouteSettings: { throttlingBurstLimit: 1000, throttlingRateLimit: 500 },
      accessLogSettings: { destinationArn: accessLogs.logGroupArn, format: ACCESS_LOG },
      tags,
    });
    this.url = `https://${apiId}.execute-api.${Aws.REGION}.${Aws.URL_SUFFIX}`;
    if (settings.hasDomain) {
      const domainName = settings.of("DomainName");
      this.domain = new gateway.CfnDomainName(this, "Domain", {
        domainName,
        domainNameConfigurations: [
          { certificateArn: settings.of("CertificateArn"), endpointType: "REGIONAL", securityPolicy: "TLS_1_2" },
        ],
        tags,
      });
      new gateway.CfnApiMapping(this, "DomainMapping", { apiId, domainName: this.domain.ref, stage: stage.ref });
      this.url = `https://${domainName}`;
    }
  }

  /** With an identity provider, /v1 is for its tokens, apart from the document, which describes the API and holds nobody's data. */
  private tokens(integration: gateway.CfnIntegration, settings: Settings): void {
    const apiId = this.api.ref;
    const target = `integrations/${integration.ref}`;
    const authorizer = new gateway.CfnAuthorizer(this, "ApiAuthorizer", {
      apiId,
      name: "tokens",
      authorizerType: "JWT",
      identitySource: ["$request.header.Authorization"],
      jwtConfiguration: { issuer: settings.of("JwtIssuer"), audience: [settings.of("JwtAudience")] },
    });
    new gateway.CfnRoute(this, "ApiTokenRoute", {
      apiId,
      routeKey: "ANY /v1/{proxy+}",
      authorizationType: "JWT",
      authorizerId: authorizer.ref,
      target,
    });
    new gateway.CfnRoute(this, "ApiDocumentRoute", {
      apiId,
      routeKey: "GET /v1/openapi.json",
      authorizationType: "NONE",
      target,
    });
  }
}
