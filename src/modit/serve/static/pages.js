// An item that is pointed at, or reached by keyboard, is lit wherever it is shown: in each list and on the map.
const places = new Map();
for (const place of document.querySelectorAll("[data-item]")) {
  const id = place.dataset.item;
  places.set(id, [...(places.get(id) ?? []), place]);
  for (const [event, lit] of [["mouseenter", true], ["mouseleave", false], ["focusin", true], ["focusout", false]]) {
    place.addEventListener(event, () => places.get(id).forEach((each) => each.classList.toggle("lit", lit)));
  }
}
