// What visitors send: accounts, any event, a broadcast.


const pick = (words) => words[Math.floor(Math.random() * words.length)];

function suggest() {
  const first = pick(["Harbour", "Orchard", "Lantern", "Quarry", "Meadow", "Compass", "Granite", "Juniper", "Saffron"]);
  $("name").value = `${first} ${pick(["fund", "reserve", "ledger", "savings", "trust", "float"])}`;
  $("balance").value = 50 * (1 + Math.floor(Math.random() * 200));
}

async function createAccount() {
  const body = { name: $("name").value, balance: $("balance").valueAsNumber };
  if (user) body.userId = user;
  const { content, click } = await send("POST", "/accounts", body);
  expect(click, [`account.created ${content.id}`]);
  suggest();
}

/** The event of the form. Throws an Error if its data is not JSON. */
function eventOfForm() {
  const event = { [$("audience").value]: $("receiver").value, eventType: $("type").value };
  try {
    event.data = JSON.parse($("data").value);
  } catch (error) {
    throw new Error(`Data: expected JSON; ${error.message}`);
  }
  if ($("volatile").checked) event.volatile = true;
  return event;
}

async function publish() {
  const event = eventOfForm();
  const times = $("times").valueAsNumber;
  hear(event.eventType);
  const { content, click } = await send("POST", "/events", times === 1 ? event : Array(times).fill(event));
  const id = content.ids.at(-1);
  if (id) expect(click, [id]);
  $("published").textContent = id ? `Published; the ${times === 1 ? "" : "last "}id is ${id}.` : "Published, and kept nowhere.";
}

/** Names who gets the event: the user on the page until the visitor types another. */
function suggestReceiver() {
  const isUser = $("audience").value === "userId";
  $("receiver").value = isUser ? user || subjectOf(token) || defaultUser : [...rooms][0] ?? "system-events";
}

function startPublishing() {
  suggest();
  suggestReceiver();
  onSubmit($("create"), "create-error", createAccount);
  $("surprise").addEventListener("click", () => {
    suggest();
    run($("create"), "create-error", createAccount);
  });
  $("audience").addEventListener("change", suggestReceiver);
  onSubmit($("publish"), "publish-error", publish);
  onSubmit($("broadcast"), "broadcast-error", async () => {
    const event = { channel: "system-events", eventType: "system.notice", data: { text: $("message").value } };
    const { content, click } = await send("POST", "/events", event);
    expect(click, content.ids);
  });
}
