/** Puts the page together: the store, one card per concern, the live connection. */

import { createActions } from "./actions.js";
import { createAnalysis } from "./cards/analysis.js";
import { createAnnouncer } from "./cards/announcer.js";
import { createBadge } from "./cards/badge.js";
import { createControls } from "./cards/controls.js";
import { createDemo } from "./cards/demo.js";
import { createDownloads } from "./cards/downloads.js";
import { createLibrary } from "./cards/library.js";
import { createLyrics } from "./cards/lyrics.js";
import { createMetadata } from "./cards/metadata.js";
import { createOptions } from "./cards/options.js";
import { createPicker } from "./cards/picker.js";
import { createProblem } from "./cards/problem.js";
import { createResults } from "./cards/results.js";
import { createSongCard } from "./cards/song.js";
import { createStage } from "./cards/stage.js";
import { createSummary } from "./cards/summary.js";
import { createGemma } from "./create/gemma.js";
import { createMusic } from "./create/music.js";
import { byId } from "./dom.js";
import { createEndings } from "./endings/endings.js";
import { createMicrophone } from "./microphone/microphone.js";
import { createPlayer } from "./player/player.js";
import { connect } from "./progress.js";
import { createQueueActions } from "./queue/actions.js";
import { createQueue } from "./queue/card.js";
import { isEnded, withQueueEvent, withSongStatus } from "./queue/entries.js";
import { createSession } from "./session.js";
import { INITIAL, isPaused, isUnderWay, STAGE_NAMES, withCaughtUp, withConnection, withEvent } from "./state.js";
import { createStore } from "./store.js";
import { createTaskActions } from "./tasks/actions.js";
import { wantedByTasks, withTaskEvent } from "./tasks/tasks.js";

const store = createStore(INITIAL);
const actions = createActions(store, () => live.subscribe());
const queued = createQueueActions(store, actions, () => live.subscribe());
const tasks = createTaskActions(store, () => live.subscribe(), actions.finish);
const whole = (state) => state;

store.watch((state) => state.connection, createBadge());
store.watch(whole, createOptions());
store.watch(whole, createPicker(queued));
store.watch(whole, createDemo(actions));
store.watch(whole, createSongCard());
store.watch(whole, createControls(actions, queued));
store.watch(whole, createQueue(queued));
store.watch((state) => state.problem, createProblem());
for (const name of STAGE_NAMES) store.watch((state) => state.stages[name], createStage(name, actions));
store.watch((state) => state.past, (past) => byId("stages").classList.toggle("past", past));
store.watch(whole, createSummary());
store.watch(whole, createAnnouncer());
store.watch(whole, createResults());
store.watch(whole, createPlayer());
store.watch((state) => state.jobs, createDownloads());
store.watch((state) => state.jobs, createLyrics());
store.watch((state) => state.song, createMetadata());
store.watch(whole, createAnalysis(tasks));
store.watch(whole, createGemma(tasks));
store.watch(whole, createMusic(tasks));
store.watch(whole, createEndings());
store.watch(libraryKey, createLibrary(actions));

/** Changes whenever the library may have. */
function libraryKey({ phase, song, connection, queue, stages }) {
  return [phase, song?.file_id, connection, isPaused({ stages }), ...queue.map((entry) => `${entry.fileId} ${isEnded(entry)}`)].join();
}

const live = connect({
  connection(connected) {
    const missed = connected && store.state.problem?.code === "unreachable";
    store.update((state) => withConnection(state, connected));
    if (missed && !store.state.models) actions.loadModels();
  },
  event(event) {
    const { seq } = store.state;
    store.update((state) => withTaskEvent(withQueueEvent(withEvent(state, event), event), event));
    if (store.state.seq === seq) return; // another song's, or seen before
    if (event.stage === "complete") actions.finish();
  },
  caughtUp(answer) {
    const { file_id, status } = answer;
    const ours = file_id === store.state.song?.file_id;
    const running = isUnderWay(status);
    store.update((state) => withSongStatus(ours ? withCaughtUp(state, running, answer) : state, answer));
    if (ours && !running) actions.finish(); // not every song ends with "complete"
  },
  wanted() {
    const { song, seq, queue, tasks: running } = store.state;
    const queueSongs = queue.filter(({ fileId }) => fileId).map((entry) => [entry.fileId, entry.seq]);
    const songs = new Map(queueSongs);
    for (const [fileId, known] of [...wantedByTasks(running), ...(song ? [[song.file_id, seq]] : [])]) {
      songs.set(fileId, Math.min(known, songs.get(fileId) ?? known));
    }
    return songs;
  },
});

createMicrophone();
createSession();

const linked = new URLSearchParams(location.search).get("song");
if (linked) actions.resume(linked);
actions.loadModels();
