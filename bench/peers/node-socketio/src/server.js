import { createServer } from "node:http";
import { createAdapter } from "@socket.io/redis-adapter";
import { Redis } from "ioredis";
import pg from "pg";
import { Server } from "socket.io";
import { authentication } from "./auth.js";
import { eachDelivery, groupDelivery } from "./delivery.js";
import { serve } from "./events.js";
import * as settings from "./settings.js";
import { EachStore } from "./store-each.js";
import { GroupStore } from "./store-group.js";

pg.types.setTypeParser(pg.types.builtins.INT8, Number); // milliseconds fit

const pool = new pg.Pool(settings.postgres);
pool.on("error", (error) => console.error("PostgreSQL:", error.message));

// What is published during one turn of the event loop goes to Redis in one write.
const publisher = new Redis({ ...settings.redis, enableAutoPipelining: true });
const subscriber = publisher.duplicate();
for (const client of [publisher, subscriber]) {
  client.on("error", (error) => console.error("Redis:", error.message));
}

const http = createServer();
const io = new Server(http, {
  adapter: createAdapter(publisher, subscriber),
  cors: { origin: "*" },
  perMessageDeflate: false,
});
io.use(authentication(settings.secret));
if (settings.commit === "group") serve(io, new GroupStore(pool), groupDelivery(io));
else serve(io, new EachStore(pool), eachDelivery(io));

http.listen(settings.port, "127.0.0.1", () => {
  console.log(`listening on port ${settings.port}, COMMIT=${settings.commit}`);
});

for (const signal of ["SIGTERM", "SIGINT"]) {
  process.once(signal, async () => {
    await io.close();
    process.exit();
  });
}
