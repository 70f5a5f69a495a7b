// The package ws: its own broadcast example.
const http = require("node:http");
const { WebSocket, WebSocketServer } = require("/opt/peers/node_modules/ws");
const { publish } = require("./publish.js");

const server = http.createServer(
  publish((text) => {
    const frame = Buffer.from(text);
    for (const client of sockets.clients) {
      if (client.readyState === WebSocket.OPEN) client.send(frame, { binary: false });
    }
  }),
);
const sockets = new WebSocketServer({ server, perMessageDeflate: false });
server.listen({ port: 9000, host: "0.0.0.0", backlog: 4096 });
