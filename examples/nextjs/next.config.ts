import type { NextConfig } from "next";

/** nginx, or a node. `next build` keeps it. */
const API_URL = process.env.API_URL ?? "http://localhost:8080";

const config: NextConfig = {
  rewrites: async () => [{ source: "/api/:path*", destination: `${API_URL}/:path*` }],
  turbopack: { root: import.meta.dirname },
};

export default config;
