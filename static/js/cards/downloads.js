/** Every file that was made, grouped by what made it. */

import { byId, element, icon } from "../dom.js";
import { extension, size, stem, words } from "../format.js";

const GROUPS = [
  { model: "demucs", title: "Stems", icon: "separation" },
  { model: "whisper", title: "Lyrics", icon: "transcription" },
  { model: "gemma_3n", title: "Analysis", icon: "document" },
  { model: "karaoke", title: "Karaoke", icon: "karaoke" },
  { model: "pitch_analysis", title: "Key and tempo", icon: "analysis" },
];
// What a file is called: by its own name, by model and kind, or by kind; audio keeps its name (stems are named by models).
const NAMES = {
  "karaoke.lrc": "Lyrics by word",
  "karaoke.txt": "UltraStar song",
  "whisper JSON": "Words with times",
  "karaoke JSON": "Sync data",
  JSON: "Analysis",
  LRC: "Lyrics by line",
  SRT: "Subtitles",
  VTT: "Web subtitles",
  ASS: "Animated subtitles",
  TXT: "Plain text",
  PNG: "Picture",
};

export function createDownloads() {
  const list = byId("downloads");

  return function render(jobs) {
    const groups = GROUPS.map((group) => ({ ...group, files: newest(jobs ?? [], group.model) }));
    list.replaceChildren(...groups.filter((group) => group.files.length).map(section));
  };
}

/** The files of the newest job of a model that has any. */
function newest(jobs, model) {
  const made = jobs.filter((job) => job.model === model && job.files?.length);
  return made.sort((a, b) => b.created_at - a.created_at)[0]?.files ?? [];
}

function section(group) {
  const heading = element("h3", {}, icon(group.icon), group.title);
  return element("section", { class: "download-group" }, heading, element("ul", { class: "files" }, ...group.files.map((file) => row(file, group.model))));
}

function row(file, model) {
  const kind = extension(file.filename);
  const name = NAMES[file.filename] ?? NAMES[`${model} ${kind}`] ?? NAMES[kind] ?? words(stem(file.filename));
  const label = element("span", { class: "file-name" }, name, element("span", { class: "file-real" }, file.filename));
  const facts = element("span", { class: "file-facts" }, size(file.size_bytes));
  const link = { class: "file", href: file.download_url, download: file.filename };
  return element("li", {}, element("a", link, element("span", { class: "file-kind" }, kind), label, facts, icon("download")));
}
