// Rooms: the channels that the stream hears beside the events of its user.

const rooms = new Set();

function joinRoom(name) {
  rooms.add(name);
  changeRooms(`Joined ${name}.`);
}

function leaveRoom(name) {
  rooms.delete(name);
  changeRooms(`Left ${name}.`);
  $("room").focus();
}

/** Opens the stream again where it is, so that nothing is missed by a change of rooms. */
function changeRooms(seam) {
  showRooms();
  keepAddress();
  enqueue({ seam });
  reopen();
}

function showRooms() {
  $("rooms").replaceChildren(...[...rooms].map((name) => {
    const leave = make("button", "", "Leave");
    Object.assign(leave, { type: "button", ariaLabel: `Leave ${name}` });
    leave.addEventListener("click", () => leaveRoom(name));
    return make("li", "", make("code", "", name), leave);
  }));
}

function startRooms(names) {
  for (const name of names) rooms.add(name);
  showRooms();
  onSubmit($("room-form"), "room-error", async () => {
    if (rooms.has($("room").value)) return;
    joinRoom($("room").value);
    $("room").value = "";
  });
}
