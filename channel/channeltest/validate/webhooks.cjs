// Reads a JSON object of signed requests by name from standard input, has standardwebhooks verify each, and prints what it
// refuses as a JSON array of texts.
"use strict";
const { Webhook } = require(process.argv[2] + "/standardwebhooks");
const requests = JSON.parse(require("fs").readFileSync(0, "utf8"));
const faults = [];
for (const [name, { secret, headers, body }] of Object.entries(requests)) {
  try {
    new Webhook(secret).verify(body, headers);
  } catch (e) {
    faults.push(`${name}: ${e}`);
  }
}
process.stdout.write(JSON.stringify(faults));
