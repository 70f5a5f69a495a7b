// Socket.IO: io.emit(), over WebSockets only.
const http = require("node:http");
const { Server } = require("/opt/peers/node_modules/socket.io");
const { publish } = require("./publish.js");

const server = http.createServer(publish((text) => io.emit("update", text)));
const io = new Server({ transports: ["websocket"], serveClient: false });
io.attach(server);
server.listen({ port: 9000, host: "0.0.0.0", backlog: 4096 });
