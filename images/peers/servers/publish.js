// What both peers in JavaScript share: the message, as large as an update frame, and the order to publish it.

/** The message with this number, and the time at which it was made (client.c). */
function message(number, size) {
  const mark = `#${number}:${process.hrtime.bigint() / 1000n}#`;
  const position = `${number}-0123456789abcdef`;
  return JSON.stringify({ event: "bench", payload: { mark, pad: "x".repeat(size) }, stream: "all", position });
}

/** Answers POST /publish with {number, times, size}: that many messages, in a row. */
exports.publish = (broadcast) => (request, response) => {
  let body = "";
  request.on("data", (part) => (body += part));
  request.on("end", () => {
    const { number, times, size } = JSON.parse(body || '{"number": 0, "times": 0, "size": 0}');
    for (let n = number; n < number + times; n += 1) broadcast(message(n, size));
    response.end("{}");
  });
};
