// Accounts.

const accountRows = new Map();  // id -> {row, name, input}
let loading = false;
let loadAgain = false;
let accountsAfter = 0;          // the id before the last page: what is older needs no reading again

/** Reads the accounts; calls that come while a reading is under way become one more. */
async function loadAccounts() {
  loadAgain = true;
  if (loading) return;
  loading = true;
  while (loadAgain) {
    loadAgain = false;
    const of = user;
    const query = `limit=${ACCOUNTS_READ}${of && `&userId=${encodeURIComponent(of)}`}`;
    try {
      let accounts = [];
      do {
        if (accounts.length === ACCOUNTS_READ) accountsAfter = accounts.at(-1 - ACCOUNTS_SHOWN).id;
        accounts = (await send("GET", `/accounts?${query}&after=${accountsAfter}`)).content;
      } while (accounts.length === ACCOUNTS_READ && of === user);
      if (of === user) showAccounts(accounts);
      warn("accounts-error", "");
    } catch (error) {
      warn("accounts-error", error.message);
    }
    await new Promise((done) => setTimeout(done, 200));   // in a flood of events: five readings a second
  }
  loading = false;
}

function showAccounts(accounts) {
  if (!user && !token && accounts.length) defaultUser = accounts[0].userId;
  const shown = accounts.slice(-ACCOUNTS_SHOWN).reverse();
  const ids = new Set(shown.map((account) => account.id));
  for (const [id, { row }] of accountRows) {
    if (!ids.has(id)) {
      row.remove();
      accountRows.delete(id);
    }
  }
  for (const [place, { id, name, balance }] of shown.entries()) {
    if (!accountRows.has(id)) accountRows.set(id, makeAccount(id));
    const account = accountRows.get(id);
    const there = $("accounts").children[place];
    if (there !== account.row) $("accounts").insertBefore(account.row, there ?? null);
    account.name.textContent = name;
    if (account.input.value === account.input.defaultValue) account.input.value = balance;   // never over typing
    account.input.defaultValue = balance;
  }
  const older = accounts.length > shown.length || accountsAfter;
  $("accounts-note").textContent = !shown.length ? "None yet." : older ? `The newest ${shown.length} are shown.` : "";
}

function makeAccount(id) {
  const name = make("span", "");
  const input = make("input", "");
  const update = make("button", "", "Update balance");
  const remove = make("button", "remove", "Delete");
  const form = make("form", "", make("label", "", input), update, remove);
  Object.assign(input, { type: "number", step: "any", required: true, inputMode: "decimal", ariaLabel: `Balance of account ${id}` });
  Object.assign(update, { ariaLabel: `Update balance of account ${id}` });
  Object.assign(remove, { type: "button", ariaLabel: `Delete account ${id}` });
  form.autocomplete = "off";
  input.addEventListener("input", () => input.setCustomValidity(""));
  update.addEventListener("click", () => {
    input.setCustomValidity(input.value === input.defaultValue ? "Type another balance first." : "");
  });
  onSubmit(form, "accounts-error", async () => {
    const { click } = await send("PATCH", `/accounts/${id}`, { balance: input.valueAsNumber });
    input.defaultValue = input.value;
    expect(click, [`account.updated ${id}`, `balance.changed ${id}`]);
  });
  remove.addEventListener("click", () => run(form, "accounts-error", async () => {
    const { click } = await send("DELETE", `/accounts/${id}`);
    expect(click, [`account.deleted ${id}`]);
  }));
  return { row: make("li", "", make("p", "", name, make("span", "", `#${id}`)), form), name, input };
}

