/** The page's state in one place: replaced, never changed in place, so that `===` tells what is new. */

/**
 * @template S
 * @param {S} initial
 */
export function createStore(initial) {
  let state = initial;
  const watchers = new Set();
  return {
    get state() {
      return state;
    },

    /** Replace the state by what `change` makes of it. */
    update(change) {
      const next = change(state);
      if (next === state) return;
      state = next;
      for (const watcher of [...watchers]) watcher(state);
    },

    /** Call `render` now, and again whenever what `select` takes from the state is another object or value. */
    watch(select, render) {
      let shown = select(state);
      watchers.add((changed) => {
        const selected = select(changed);
        if (selected === shown) return;
        shown = selected;
        render(selected);
      });
      render(shown);
    },
  };
}
