/** Light, dark, or as the system has it. A classic script in the head, so that no page shows in the wrong colours first. */
{
  const MEDIA = { system: "(prefers-color-scheme: dark)", light: "not all", dark: "all" };
  const WORDS = { system: "as the system has them", light: "light", dark: "dark" };
  const CHOICES = Object.keys(MEDIA);
  const KEPT = "theme";

  const chosen = () => (localStorage.getItem(KEPT) in MEDIA ? localStorage.getItem(KEPT) : "system");

  const apply = () => {
    document.getElementById("dark").media = MEDIA[chosen()];
  };

  const label = (button) => {
    button.querySelector("use").setAttribute("href", `/static/icons.svg#${chosen()}`);
    button.setAttribute("aria-label", `Colours: ${WORDS[chosen()]}`);
    button.title = button.getAttribute("aria-label");
  };

  apply();
  addEventListener("DOMContentLoaded", () => {
    const button = document.getElementById("theme");
    label(button);
    button.addEventListener("click", () => {
      localStorage.setItem(KEPT, CHOICES[(CHOICES.indexOf(chosen()) + 1) % CHOICES.length]);
      apply();
      label(button);
    });
  });
}
