// Reads a JSON object of Adaptive Cards by name from standard input, has the vendor's own parser read each, and prints
// what it finds wrong as a JSON array of texts.
"use strict";
const { AdaptiveCard, SerializationContext, Versions } = require(process.argv[2] + "/adaptivecards/dist/adaptivecards.js");
const cards = JSON.parse(require("fs").readFileSync(0, "utf8"));
const faults = [];
const count = (value, test) => {
  if (value === null || typeof value !== "object") return 0;
  return (test(value) ? 1 : 0) + Object.values(value).reduce((n, v) => n + count(v, test), 0);
};
for (const [name, json] of Object.entries(cards)) {
  const context = new SerializationContext(Versions.v1_4);
  const card = new AdaptiveCard();
  card.parse(json, context);
  for (let i = 0; i < context.eventCount; i++) faults.push(`${name}: parse: ${context.getEventAt(i).message}`);
  for (const e of card.validateProperties().validationEvents) faults.push(`${name}: validate: ${e.message}`);
  if (!card.version || card.version.toString() !== "1.4") faults.push(`${name}: version ${card.version}`);
  if (card.getItemCount() !== json.body.length) faults.push(`${name}: ${card.getItemCount()} of ${json.body.length} elements are left`);
  if (card.getActionCount() !== (json.actions || []).length) faults.push(`${name}: actions were dropped`);
  const again = card.toJSON(new SerializationContext(Versions.v1_4));
  const runs = (v) => count(v, (o) => o.type === "TextRun");
  if (runs(again) !== runs(json)) faults.push(`${name}: ${runs(again)} of ${runs(json)} text runs are left`);
}
process.stdout.write(JSON.stringify(faults));
