"use client";

import { useCallback, useState } from "react";

import { useEvents } from "./hooks/useEvents";

const TYPES = ["snapshots.generated"];

export function Snapshots() {
  const [lines, setLines] = useState<string[]>([]);
  const onEvent = useCallback((eventType: string, data: any) => {
    setLines((lines) => [...lines, `${data.snapshotCount} snapshots by ${data.serverId}`]);
  }, []);
  useEvents(TYPES, onEvent);
  return (
    <ul>
      {lines.map((line, index) => (
        <li key={index}>{line}</li>
      ))}
    </ul>
  );
}
