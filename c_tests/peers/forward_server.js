// A Forward server by other authors, for the tests: one line on standard output for each record that arrives.
//
// node forward_server.js [--tls CERT KEY] [--shared-key KEY] [--user NAME PASSWORD]
// Prints "ready PORT", then "TAG<TAB>SECONDS<TAB>NANOSECONDS<TAB>RECORD AS JSON" for each record. Ends with standard input.
"use strict";

const fs = require("fs");
const { EventTime, FluentServer } = require("@fluent-org/logger");

const options = { listenOptions: { host: "127.0.0.1", port: 0 }, keepalive: true };
const words = process.argv.slice(2);
while (words.length > 0) {
    const word = words.shift();
    if (word === "--tls") {
        options.tlsOptions = { cert: fs.readFileSync(words.shift()), key: fs.readFileSync(words.shift()) };
    } else if (word === "--shared-key") {
        options.security = { serverHostname: "peer.example", sharedKey: words.shift(), authorize: false, userDict: {} };
    } else if (word === "--user") {
        options.security.authorize = true;
        options.security.userDict[words.shift()] = words.shift();
    } else {
        throw new Error(`unknown argument ${word}`);
    }
}

class Server extends FluentServer {
    onEntry(tag, time, record) {
        const [seconds, nanoseconds] = time instanceof EventTime ? [time.epoch, time.nano] : [time, -1];
        fs.writeSync(1, `${tag}\t${seconds}\t${nanoseconds}\t${JSON.stringify(record)}\n`);
    }
}

const server = new Server(options);
server.on("error", (error) => fs.writeSync(2, `${error}\n`));
process.stdin.resume().on("end", () => process.exit(0));
server.listen().then(() => fs.writeSync(1, `ready ${server.port}\n`));
