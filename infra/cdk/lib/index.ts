export { MillraceStack } from "./stack";
export { MillraceProps } from "./settings";
export { MillraceFunction } from "./function";
export { Data } from "./data";
export { Http } from "./http";
