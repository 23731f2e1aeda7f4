/** Who is logged in. The cookie holds a token that scripts cannot read and that sse-node reads too. */

import { jwtVerify, SignJWT } from "jose";
import { cookies } from "next/headers";

const COOKIE = "token"; // the node's --auth-cookie
const SESSION_S = 12 * 3600; // a token that has expired can be renewed for so long

const secret = new TextEncoder().encode(process.env.JWT_SECRET);
const lifetimeS = Number(process.env.TOKEN_LIFETIME_S ?? 900);

/** Whether the node has `--auth jwt`; it and this server then have the same secret. */
export const needsLogin = secret.length > 0;

export async function readUser(): Promise<string | undefined> {
  const token = (await cookies()).get(COOKIE)?.value;
  if (!token || !needsLogin) return undefined;
  return jwtVerify(token, secret, { clockTolerance: SESSION_S }).then(
    ({ payload }) => payload.sub,
    () => undefined,
  );
}

export async function setUser(user: string): Promise<void> {
  const token = await new SignJWT()
    .setProtectedHeader({ alg: "HS256" })
    .setSubject(user)
    .setIssuedAt()
    .setExpirationTime(Math.floor(Date.now() / 1000) + lifetimeS)
    .setJti(crypto.randomUUID())
    .sign(secret);
  (await cookies()).set(COOKIE, token, {
    httpOnly: true,
    sameSite: "lax",
    secure: true, // browsers accept it on localhost without TLS, too
    maxAge: SESSION_S,
  });
}

export async function forgetUser(): Promise<void> {
  (await cookies()).delete(COOKIE);
}
