// The slider over grids of samples, and the player from noise to image.

function data(id) {
  const element = document.getElementById(id);
  return element && JSON.parse(element.textContent);
}

function showGrids(grids) {
  const slider = document.getElementById('grid-slider');
  const image = document.getElementById('grid');
  const caption = document.getElementById('grid-step');
  slider.addEventListener('input', () => {
    const grid = grids[Number(slider.value)];
    const step = grid.step.toLocaleString('en');
    image.src = grid.image;
    image.alt = `Grid of samples after ${step} steps`;
    caption.textContent = `Step ${step}`;
    slider.setAttribute('aria-valuetext', `Step ${step}`);
  });
}

function showStates(states) {
  const milliseconds = 700;
  const slider = document.getElementById('state-slider');
  const button = document.getElementById('play');
  const name = document.getElementById('state-name');
  const images = document.querySelectorAll('.state');
  const energies = document.querySelectorAll('.energy');
  const rows = document.querySelectorAll('#energies-of-states tr');
  const last = states.names.length - 1;
  let timer = null;

  function show(index) {
    slider.value = index;
    slider.setAttribute('aria-valuetext', states.names[index]);
    name.textContent = states.names[index];
    images.forEach((image, sample) => {
      image.src = states.images[index][sample];
      image.alt = `Sample ${sample + 1}, state ${states.names[index]}`;
      energies[sample].textContent = states.energies[index][sample];
    });
    // The first cell of each row is its header.
    rows.forEach((row) => [...row.cells].forEach((cell, at) => cell.classList.toggle('now', at === index + 1)));
  }

  function stop() {
    clearInterval(timer);
    timer = null;
    button.textContent = 'Play';
  }

  function play() {
    show(Number(slider.value) === last ? 0 : Number(slider.value));
    button.textContent = 'Pause';
    timer = setInterval(() => {
      show(Number(slider.value) + 1);
      if (Number(slider.value) === last) stop();
    }, milliseconds);
  }

  button.addEventListener('click', () => (timer === null ? play() : stop()));
  slider.addEventListener('input', () => {
    stop();
    show(Number(slider.value));
  });
  show(last);
}

const grids = data('grids-data');
const states = data('states-data');
if (grids) showGrids(grids);
if (states) showStates(states);
