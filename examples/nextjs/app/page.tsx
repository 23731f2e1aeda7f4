import { needsLogin, readUser } from "../session";
import { Accounts } from "./accounts";
import { login, logout } from "./actions";
import { Events } from "./events";

export const dynamic = "force-dynamic"; // the secret and the cookie are read with each request

export default async function Page() {
  const user = await readUser();
  return (
    <main>
      <h1>Accounts</h1>
      {needsLogin && !user ? (
        <form action={login}>
          <label>
            User <input name="user" required autoComplete="username" />
          </label>
          <button>Log in</button>
        </form>
      ) : (
        <Events key={user} user={user}>
          <Accounts />
        </Events>
      )}
      {user && (
        <form action={logout}>
          <button>Log out {user}</button>
        </form>
      )}
    </main>
  );
}
