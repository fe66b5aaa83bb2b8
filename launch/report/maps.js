// Load maps (time x expert, a canvas of one pixel per cell) and routing maps (group x expert, a table of numbers).

const kScaleEnd = 4;  // colours saturate at a quarter of an even share and at four times it
const kBandExperts = 16;

/// Where load x experts lies on the colour scale: 0.5 is an even share; symmetric in ratios, finer around even.
function scale_position(ratio) {
  if (ratio <= 0) return 0;
  const doublings = Math.log2(ratio) / Math.log2(kScaleEnd);
  return 0.5 + 0.5 * Math.sign(doublings) * Math.min(Math.abs(doublings), 1) ** 0.8;
}

function scale_stops() {
  return style_value('--scale').split(/\s+/);
}

/// Black or white, whichever reads better on the colour (relative luminance after WCAG 2).
function readable_on(rgb) {
  const [r, g, b] = rgb.map((value) => (value /= 255) <= 0.03928 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4);
  return 0.2126 * r + 0.7152 * g + 0.0722 * b > 0.2 ? '#14171b' : '#ffffff';
}

function draw_legends() {
  const stops = scale_stops();
  const samples = Array.from({length: 33}, (_, i) => `rgb(${blend(stops, i / 32).join(' ')})`);
  for (const legend of document.querySelectorAll('.legend')) {
    const marks = element('span', {class: 'marks'});
    for (const mark of ['¼', '½', '1', '2', '4']) marks.append(element('span', {}, mark + ' ×'));
    const ramp = element('span', {class: 'ramp'});
    ramp.style.background = `linear-gradient(to right, ${samples.join(', ')})`;
    legend.replaceChildren(element('span', {}, legend.dataset.low), ramp, element('span', {}, legend.dataset.high), marks);
  }
}

// ---- Load maps. ----

function paint_load(canvas, load) {
  const stops = scale_stops();
  const context = canvas.getContext('2d');
  const image = context.createImageData(load.columns.length, load.experts);
  load.columns.forEach((column, c) => column.forEach((ratio, e) => {
    const rgb = ratio === null ? channels(style_value('--paper')) : blend(stops, scale_position(ratio));
    image.data.set([...rgb, 255], 4 * (e * load.columns.length + c));
  }));
  context.putImageData(image, 0, 0);
}

/// Row numbers beside the map; only some where the rows are too thin for all.
function row_numbers(experts, row_height) {
  const every = Math.max(1, 2 ** Math.ceil(Math.log2(11 / row_height)));
  const rows = element('div', {class: 'rows'});
  for (let e = 0; e < experts; ++e) rows.append(element('span', {}, e % every === 0 ? String(e) : ''));
  return rows;
}

function describe_range(load) {
  const all = load.columns.flat().filter(is_number);
  if (all.length === 0) return 'no loads';
  const [low, high] = [all.reduce((a, b) => Math.min(a, b)), all.reduce((a, b) => Math.max(a, b))];
  return `${low.toFixed(2)} to ${high.toFixed(2)} × an even share`;
}

function follow_pointer(canvas, load, reading) {
  const idle = describe_range(load);
  const rest = () => { reading.textContent = idle; reading.className = 'reading idle'; };
  canvas.addEventListener('pointermove', (event) => {
    const box = canvas.getBoundingClientRect();
    const at = (position, size, count) => Math.min(Math.max(Math.floor(position / size * count), 0), count - 1);
    const c = at(event.clientX - box.left, box.width, load.columns.length);
    const e = at(event.clientY - box.top, box.height, load.experts);
    const steps = load.first[c] === load.last[c] ? `Step ${grouped(load.first[c])}` : `Steps ${grouped(load.first[c])} to ${grouped(load.last[c])}`;
    reading.textContent = `${steps}, expert ${e}: ${fixed(load.columns[c][e], 2)} ×`;
    reading.className = 'reading';
  });
  canvas.addEventListener('pointerleave', rest);
  rest();
}

function place_load_map(parent, {layer, load}) {
  const row_height = Math.min(Math.max(112 / load.experts, 5), 14);
  const canvas = element('canvas', {width: load.columns.length, height: load.experts, role: 'img',
                                    'aria-label': `Load of ${load.experts} experts over time, layer ${layer}`});
  canvas.style.height = `${load.experts * row_height}px`;
  const reading = element('div', {class: 'reading'});
  const last = load.last[load.last.length - 1];
  const ends_of_axis = element('div', {class: 'ends'}, element('span', {}, `step ${grouped(load.first[0])}`), element('span', {}, grouped(last)));
  parent.append(element('figure', {class: 'panel'}, element('figcaption', {}, element('h3', {}, `Layer ${layer}`)),
                        element('div', {class: 'load'}, row_numbers(load.experts, row_height), canvas, ends_of_axis, reading)));
  follow_pointer(canvas, load, reading);
  const draw = () => paint_load(canvas, load);
  draw();
  redraws.push(draw);
  drawn.load_maps.push({layer, load});
}

// ---- Routing maps. ----

function routing_cell(share, experts, expert) {
  const cell = element('td', {title: is_number(share) ? `expert ${expert}: ${(share * experts).toFixed(2)} × an even share` : 'no tokens'});
  cell.textContent = is_number(share) ? (share * 100).toFixed(1) : '–';
  if (!is_number(share)) return cell;
  const colour = () => {
    const rgb = blend(scale_stops(), scale_position(share * experts));
    cell.style.background = `rgb(${rgb.join(' ')})`;
    cell.style.color = readable_on(rgb);
  };
  colour();
  redraws.push(colour);
  return cell;
}

/// Experts [begin, end) of a layer: one table no broader than the page.
function routing_band({layer, experts, groups}, begin, end) {
  const numbers = Array.from({length: end - begin}, (_, i) => element('th', {scope: 'col'}, String(begin + i)));
  const columns = numbers.map(() => element('col'));
  const body = element('tbody');
  for (const {name, share} of groups) {
    const cells = share.slice(begin, end).map((value, i) => routing_cell(value, experts, begin + i));
    body.append(element('tr', {}, element('th', {scope: 'row', title: name}, name), ...cells));
    drawn.routing_maps.push({layer, group: name, begin, cells});
  }
  const table = element('table', {class: 'heat'}, element('colgroup', {}, element('col', {class: 'name'}), ...columns),
                        element('thead', {}, element('tr', {}, element('th', {scope: 'col'}), ...numbers)), body);
  table.style.setProperty('--columns', end - begin);
  return element('div', {class: 'scroll'}, table);
}

function place_routing_map(parent, map) {
  const bands = Math.ceil(map.experts / kBandExperts);
  const panel = element('figure', {class: 'panel'}, element('figcaption', {}, element('h3', {}, `Layer ${map.layer}`)));
  for (let b = 0; b < bands; ++b)
    panel.append(routing_band(map, Math.floor(b * map.experts / bands), Math.floor((b + 1) * map.experts / bands)));
  parent.append(panel);
}
