/* A button in each block of code that copies it: of a session only what is typed. */
"use strict";

function typed(pre) {
  const copy = pre.cloneNode(true);
  if (!copy.querySelector(".gp")) return copy.textContent;
  for (const part of copy.querySelectorAll(".go, .gt, .gr")) part.remove();
  const lines = copy.textContent.split("\n");
  return lines
    .filter((line) => /^(>>>|\.\.\.|\$)( |$)/.test(line))
    .map((line) => line.replace(/^(>>>|\.\.\.|\$) ?/, ""))
    .join("\n") + "\n";
}

async function put(text) {
  if (navigator.clipboard) return navigator.clipboard.writeText(text);
  const area = document.createElement("textarea"); // a page that was opened as a file
  area.value = text;
  document.body.append(area);
  area.select();
  document.execCommand("copy");
  area.remove();
}

document.addEventListener("DOMContentLoaded", () => {
  for (const pre of document.querySelectorAll("div.highlight > pre")) {
    const button = document.createElement("button");
    button.className = "copy";
    button.type = "button";
    button.textContent = "Copy";
    button.setAttribute("aria-label", "Copy this code");
    button.addEventListener("click", async () => {
      try {
        await put(typed(pre));
        button.textContent = "Copied";
      } catch {
        button.textContent = "Not copied";
      }
      setTimeout(() => { button.textContent = "Copy"; }, 1500);
    });
    pre.parentElement.append(button);
  }
});
