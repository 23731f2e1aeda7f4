import { defineConfig } from "vitest/config";

export default defineConfig({
  esbuild: { jsx: "automatic" },
  test: {
    include: ["tests/**/*.test.{ts,tsx}"],
    testTimeout: 30_000, // arbitrary; on a busy machine
    restoreMocks: true,
    unstubGlobals: true,
  },
});
