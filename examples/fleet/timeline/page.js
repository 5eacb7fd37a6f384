"use strict";
const detail = document.getElementById("detail");
const lanes = [...document.querySelectorAll(".lane .line")].map((line) => [...line.querySelectorAll("button")]);
const show = (button) => { detail.textContent = button.getAttribute("aria-label"); };
const left = (button) => button.getBoundingClientRect().left;
for (const lane of lanes) {
  lane.sort((one, two) => left(one) - left(two));
  for (const button of lane) {
    button.addEventListener("focus", () => show(button));
    button.addEventListener("mouseenter", () => show(button));
    button.addEventListener("click", () => button.focus());
  }
}
document.addEventListener("keydown", (event) => {
  const row = lanes.findIndex((lane) => lane.includes(document.activeElement));
  if (row < 0) return;
  const lane = lanes[row];
  const at = lane.indexOf(document.activeElement);
  const near = (other) => other.reduce((best, button) =>
    Math.abs(left(button) - left(lane[at])) < Math.abs(left(best) - left(lane[at])) ? button : best, other[0]);
  const other = (step) => {
    for (let to = row + step; lanes[to]; to += step) if (lanes[to].length) return near(lanes[to]);
    return undefined;
  };
  const next = { ArrowRight: () => lane[at + 1], ArrowLeft: () => lane[at - 1], Home: () => lane[0],
    End: () => lane.at(-1), ArrowDown: () => other(1), ArrowUp: () => other(-1) }[event.key]?.();
  if (next) { event.preventDefault(); next.focus(); }
});
