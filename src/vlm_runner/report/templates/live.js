"use strict";
const main = document.getElementById("main");
const note = document.getElementById("live");
const source = new EventSource("events");
const nameOf = (details) => details.querySelector("summary").textContent;

source.addEventListener("changed", async (event) => {
  note.textContent = `${event.data} (${new Date().toLocaleTimeString()})`;
  const answer = await fetch("main");
  if (!answer.ok) return;
  const open = new Set([...main.querySelectorAll("details[open]")].map(nameOf));
  main.innerHTML = await answer.text();
  for (const details of main.querySelectorAll("details")) {
    if (open.has(nameOf(details))) details.open = true;
  }
});
source.addEventListener("over", () => {
  note.textContent = "The run is over; this is its last page.";
  source.close();
});
source.onerror = () => {
  note.textContent = "The connection is lost; trying again.";
};
