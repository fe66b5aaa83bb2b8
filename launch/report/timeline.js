// One step, task by task: a measured timeline above the predicted one, on one scale, and what was exposed.

const kLanes = ['compute', 'inside host', 'between hosts'];
const kLaneHeight = 26;
const kTimelineWidth = 1000;  // of the drawing's own units, stretched to the panel

/// Computing in cool colours, exchanges in warm ones.
const kKindColours = {
  dense: () => series_colour(6), experts: () => series_colour(0), input_gradient: () => series_colour(5), weight_gradient: () => series_colour(2),
  dispatch: () => series_colour(1), combine: () => series_colour(4), all_gather: () => series_colour(3),
  reduce_scatter: () => with_opacity(series_colour(3), 0.55), gradient: () => series_colour(7),
};

const kSvg = new DOMParser().parseFromString('<svg></svg>', 'text/html').body.firstChild.namespaceURI;

function drawing(kind, attributes = {}, ...children) {
  const node = document.createElementNS(kSvg, kind);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  node.append(...children);
  return node;
}

function describe_task(task) {
  const parts = [task.kind.replaceAll('_', ' '), task.direction];
  if (task.layer >= 0 && task.kind !== 'dense') parts.push(`layer ${task.layer}`);
  if (task.layer >= 0 && task.kind === 'dense') parts.push(task.layer < run.timeline.layers ? `at layer ${task.layer}` : 'head');
  if (task.kind !== 'dense') parts.push(`${task.kind === 'gradient' ? 'slice' : 'chunk'} ${task.chunk}`);
  if (task.bytes > 0) parts.push(`${short_number(task.bytes).join(' ')}B`);
  if (task.rows > 0) parts.push(`${grouped(task.rows)} rows`);
  return `${parts.join(', ')}: ${plain_number(task.end - task.begin)} ms, from ${plain_number(task.begin)} to ${plain_number(task.end)}`;
}

/// Where tasks of a lane overlap (exchanges under way at once), each gets a part of its height.
function shelves_of(tasks) {
  const ends = [];
  const shelf = tasks.map((task) => {
    let free = ends.findIndex((end) => end <= task.begin + 1e-3);  // a microsecond is rounding
    if (free < 0) free = ends.length;
    ends[free] = task.end;
    return free;
  });
  return {shelf, count: Math.max(ends.length, 1)};
}

function draw_lane(svg, tasks, lane, scale) {
  const {shelf, count} = shelves_of(tasks);
  const height = (kLaneHeight - 4) / count;
  tasks.forEach((task, i) => {
    const width = (task.end - task.begin) / scale * kTimelineWidth;
    svg.append(drawing('rect', {
      x: task.begin / scale * kTimelineWidth, width, y: lane * kLaneHeight + 2 + shelf[i] * height, height,
      fill: kKindColours[task.kind](), 'data-kind': task.kind, class: width > 3 ? 'broad' : '',
    }, drawing('title', {}, describe_task(task))));
  });
}

function draw_timeline(process, scale) {
  const height = kLanes.length * kLaneHeight;
  const svg = drawing('svg', {viewBox: `0 0 ${kTimelineWidth} ${height}`, preserveAspectRatio: 'none', role: 'img',
                              'aria-label': `Tasks of ${process.name}`});
  svg.style.height = `${height}px`;
  for (let lane = 0; lane < kLanes.length; ++lane) {
    svg.append(drawing('line', {x1: 0, x2: kTimelineWidth, y1: (lane + 1) * kLaneHeight, y2: (lane + 1) * kLaneHeight, class: 'rule'}));
    draw_lane(svg, process.tasks.filter((task) => task.lane === lane), lane, scale);
  }
  const labels = element('div', {class: 'lanes'}, ...kLanes.map((lane) => element('span', {}, lane)));
  drawn.timelines.push({name: process.name, svg, scale});
  return element('div', {class: 'timeline'}, element('h4', {}, process.title), labels, svg);
}

function draw_clock(scale) {
  const step = [1, 2, 5].map((digit) => digit * 10 ** Math.floor(Math.log10(scale / 5))).concat(10 ** Math.ceil(Math.log10(scale / 5)))
    .find((size) => scale / size <= 6) || scale;
  const ticks = element('div', {class: 'clock'});
  for (let at = 0; at <= scale; at += step) {
    const tick = element('span', {}, `${plain_number(at)} ms`);
    tick.style.left = `${100 * at / scale}%`;
    ticks.append(tick);
  }
  return element('div', {class: 'timeline'}, element('span'), ticks);
}

function follow_tasks(panel, reading) {
  const rest = () => { reading.textContent = 'Point at a task.'; reading.className = 'reading idle'; };
  panel.addEventListener('pointermove', (event) => {
    const rect = event.target.closest('rect');
    if (!rect) return rest();
    reading.textContent = rect.querySelector('title').textContent;
    reading.className = 'reading';
  });
  panel.addEventListener('pointerleave', rest);
  rest();
}

function place_timelines(chosen) {
  const {ranks, predicted} = run.timeline;
  const panel = by_id('timelines');
  const held = element('div'), reading = element('div', {class: 'reading'});
  panel.append(held, reading);
  const draw = () => {
    const rank = ranks[chosen()];
    const shown = predicted ? [{...rank, title: `measured, ${rank.name}`}, {...predicted, title: 'predicted'}] : [{...rank, title: `measured, ${rank.name}`}];
    const scale = Math.max(...shown.map((process) => process.end), 1e-6);
    const kinds = Object.keys(kKindColours).filter((kind) => shown.some((process) => process.tasks.some((task) => task.kind === kind)));
    drawn.timelines = [];
    held.replaceChildren();
    list_keys(held, kinds.map((kind) => ({label: kind.replaceAll('_', ' '), colour: kKindColours[kind](), shape: 'block'})));
    held.append(...shown.map((process) => draw_timeline(process, scale)), draw_clock(scale));
  };
  follow_tasks(panel, reading);
  draw();
  redraws.push(draw);
  return draw;
}

const kShareRows = [['Step', 'seconds'], ['Compute busy', 'compute'], ['Link inside the host busy', 'inside_host'],
                    ['Link between hosts busy', 'between_hosts'], ['Communication exposed', 'exposed'], ['Communication hidden', 'hidden']];

function place_shares(chosen) {
  const {ranks, mean, predicted, rank_count} = run.timeline;
  const table = element('table', {class: 'scores'});
  by_id('exposed').append(element('div', {class: 'scroll'}, table));
  const draw = () => {
    const rank = ranks[chosen()];
    const columns = [[`Measured, ${rank.name}`, rank.shares]];
    if (rank_count > 1) columns.push([`Mean of ${grouped(rank_count)} ranks`, mean]);
    if (predicted) columns.push(['Predicted', predicted.shares]);
    const head = ['', ...columns.map(([name]) => name)].map((name) => element('th', {scope: 'col'}, name));
    const rows = kShareRows.map(([title, key]) => element('tr', {}, element('th', {scope: 'row'}, title),
      ...columns.map(([, shares]) => element('td', {}, `${fixed(shares[key] * 1000, 2)} ms`))));
    table.replaceChildren(element('thead', {}, element('tr', {}, ...head)), element('tbody', {}, ...rows));
    drawn.exposed = rows;
  };
  draw();
  return draw;
}

function fill_timeline() {
  if (!run.timeline) return hide('timeline');
  const {ranks, update, left_out} = run.timeline;
  let hint = `Update ${grouped(update)}, its last micro-batch: what each resource did when, from the start of forward until all gradients were summed.`;
  if (!run.timeline.predicted) hint += ' Without a profile there is no prediction to hold it against.';
  if (left_out > 0) hint += ` ${grouped(left_out)} of the shortest tasks are not drawn.`;
  by_id('timeline-hint').textContent = hint;
  let chosen = 0;
  const redraw = [place_timelines(() => chosen), place_shares(() => chosen)];
  if (ranks.length === 1) return;
  const select = element('select', {'aria-label': 'rank'}, ...ranks.map((rank, i) => element('option', {value: i}, rank.name)));
  select.addEventListener('change', () => {
    chosen = Number(select.value);
    for (const draw of redraw) draw();
  });
  by_id('timelines').querySelector('figcaption').append(select);
}

/// As drawn: milliseconds read back from the rectangles.
function describe_timelines() {
  return drawn.timelines.map(({name, svg, scale}) => ({name, tasks: [...svg.querySelectorAll('rect')].map((rect) => {
    const [x, width, y] = ['x', 'width', 'y'].map((key) => Number(rect.getAttribute(key)));
    return {kind: rect.dataset.kind, lane: Math.floor(y / kLaneHeight), begin: x / kTimelineWidth * scale,
            end: (x + width) / kTimelineWidth * scale, text: rect.querySelector('title').textContent};
  })}));
}
