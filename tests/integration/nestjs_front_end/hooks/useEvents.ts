import { useEffect } from "react";

export function useEvents(eventTypes: string[], callback: (eventType: string, data: any) => void) {
  useEffect(() => {
    const source = new EventSource("/api/events/sse");
    source.onmessage = (event) => {
      const { eventType, ...data } = JSON.parse(event.data);
      if (eventTypes.includes(eventType)) callback(eventType, data);
    };
    return () => source.close();
  }, [eventTypes, callback]);
}
