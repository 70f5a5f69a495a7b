/**
 * @param {URL} root the site's root
 * @param {Round} round how the attempts ended; the WebSocket, at least, failed
 * @returns {Promise<Diagnosis>}
 */
export function diagnose(root: URL, round: Round): Promise<Diagnosis>;
/**
 * `code` is for programs, `text` for people. `setting` names what to check. docs/reference/updates-js.md lists them all.
 *
 * @typedef {{code: string, text: string, setting: string}} Diagnosis
 */
/**
 * How the attempts of one round ended.
 *
 * @typedef {import("./transports.js").End} End
 * @typedef {{websocket?: End, sse?: End, polling?: End}} Round
 */
/**
 * A response. `json` is null if the body is not JSON.
 *
 * @typedef {{status: number, type: string, text: string, json: any}} Answer
 */
/** @type {Record<string, [text: string, setting: string]>} */
export const KNOWN: Record<string, [text: string, setting: string]>;
/**
 * `code` is for programs, `text` for people. `setting` names what to check. docs/reference/updates-js.md lists them all.
 */
export type Diagnosis = {
    code: string;
    text: string;
    setting: string;
};
/**
 * How the attempts of one round ended.
 */
export type End = import("./transports.js").End;
/**
 * How the attempts of one round ended.
 */
export type Round = {
    websocket?: End;
    sse?: End;
    polling?: End;
};
/**
 * A response. `json` is null if the body is not JSON.
 */
export type Answer = {
    status: number;
    type: string;
    text: string;
    json: any;
};
