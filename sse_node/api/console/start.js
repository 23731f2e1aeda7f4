// The page begins.

const address = new URLSearchParams(location.search);
keepToken(readToken());
startRooms(address.get("channels")?.split(",").filter(Boolean) ?? []);
startControls();
startStream(address.get("user") ?? "");
startPublishing();
loadNodes();
setInterval(tick, 250);
