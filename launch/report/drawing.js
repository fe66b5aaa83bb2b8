'use strict';
// Colours, number formats, small DOM helpers and the line and bar charts.

const drawn = {charts: {}, load_maps: [], routing_maps: [], scores: [], timelines: [], exposed: []};
const redraws = [];  // one function per chart or map, called again for another colour scheme

// ---- Colours, from the style sheet so that both schemes stand in one place. ----

function style_value(name) {
  return getComputedStyle(document.documentElement).getPropertyValue(name).trim();
}

function series_colour(index) {
  const colours = style_value('--series').split(/\s+/);
  return colours[index % colours.length];
}

function channels(colour) {
  return [1, 3, 5].map((at) => parseInt(colour.slice(at, at + 2), 16));
}

function with_opacity(colour, opacity) {
  return `rgba(${channels(colour).join(', ')}, ${opacity})`;
}

/// The colour at `position` in [0, 1] between the given stops.
function blend(stops, position) {
  const place = Math.min(Math.max(position, 0), 1) * (stops.length - 1);
  const left = Math.min(Math.floor(place), stops.length - 2);
  const [a, b] = [channels(stops[left]), channels(stops[left + 1])];
  return a.map((value, i) => Math.round(value + (b[i] - value) * (place - left)));
}

/// Ordered things (layers) get ordered shades, from pale to strong.
function ordered_colour(index, count) {
  const [from, to] = [style_value('--panel'), style_value('--accent')];
  const [r, g, b] = blend([from, to, style_value('--ink')], count < 2 ? 0.5 : 0.2 + 0.6 * index / (count - 1));
  return '#' + [r, g, b].map((value) => value.toString(16).padStart(2, '0')).join('');
}

// ---- Numbers and elements. ----

function is_number(value) {
  return typeof value === 'number' && Number.isFinite(value);
}

function grouped(value) {
  return is_number(value) ? Math.round(value).toLocaleString('en-US') : '–';
}

function fixed(value, digits) {
  if (!is_number(value)) return '–';
  return Math.abs(value) < 1e7 ? value.toFixed(digits) : value.toExponential(digits);
}

/// [number, unit]: 12.3 M rather than 12,300,000.
function short_number(value) {
  if (!is_number(value)) return ['–', ''];
  for (const [size, unit] of [[1e12, 'T'], [1e9, 'G'], [1e6, 'M'], [1e3, 'k']])
    if (Math.abs(value) >= size * 0.9995) return [String(Number((value / size).toPrecision(3))), unit];
  return [String(Number(value.toPrecision(3))), ''];
}

/// For axes and tooltips: short, without trailing zeros, scientific where it is tiny.
function plain_number(value) {
  if (!is_number(value)) return '–';
  const size = Math.abs(value);
  if (size !== 0 && size < 1e-3) return value.toExponential(Number.isInteger(Number(value.toExponential(0))) ? 0 : 2).replace(/\.?0+e/, 'e').replace('e-', 'e−');
  if (size >= 1e6) return short_number(value).join(' ').trim();
  if (size >= 1e3) return grouped(value);
  return String(Number(value.toPrecision(4)));
}

function element(kind, attributes = {}, ...children) {
  const node = document.createElement(kind);
  for (const [name, value] of Object.entries(attributes)) {
    if (name === 'key') node.style.setProperty('--key', value);
    else node.setAttribute(name, value);
  }
  node.append(...children);
  return node;
}

function by_id(id) {
  return document.getElementById(id);
}

function hide(id) {
  by_id(id).hidden = true;
}

// ---- Charts. ----

function to_points(pairs) {
  return pairs.map(([x, y]) => ({x, y: y === null ? NaN : y}));
}

function has_values(pairs) {
  return pairs.some(([, y]) => is_number(y));
}

function axis(title, options) {
  return {
    border: {display: false},
    grid: {color: style_value('--grid'), borderColor: style_value('--rule'), drawTicks: false},
    title: {display: title !== '', text: title, color: style_value('--muted'), font: {size: 11}, padding: {top: 2}},
    ticks: {color: style_value('--muted'), padding: 6, maxRotation: 0, font: {size: 11}, callback: plain_number, ...options.ticks},
    ...options.axis,
  };
}

function tooltip(title) {
  return {
    backgroundColor: style_value('--ink'), titleColor: style_value('--paper'), bodyColor: style_value('--paper'),
    padding: 9, cornerRadius: 6, boxPadding: 4, usePointStyle: true, titleFont: {size: 12}, bodyFont: {size: 12},
    callbacks: {title, label: (item) => ` ${item.dataset.label}: ${plain_number(item.parsed.y)}`},
  };
}

function list_keys(panel, entries) {
  if (entries.length < 2) return;
  const keys = element('ul', {class: 'keys'});
  for (const {label, colour, shape} of entries)
    keys.append(element('li', {}, element('i', {class: shape || '', key: colour}), label));
  panel.append(keys);
}

/// Puts a chart into the panel; `build` makes its configuration in the colours of the moment.
function place_chart(panel_id, build) {
  const panel = by_id(panel_id);
  const title = panel.querySelector('h3').textContent;
  const canvas = element('canvas', {role: 'img', 'aria-label': title});
  const keys = element('div');
  panel.append(keys, element('div', {class: 'plot'}, canvas));
  const draw = () => {
    const {config, entries} = build();
    if (drawn.charts[panel_id]) drawn.charts[panel_id].destroy();
    keys.replaceChildren();
    list_keys(keys, entries);
    drawn.charts[panel_id] = new Chart(canvas, config);
  };
  draw();
  redraws.push(draw);
}

/// Dots where a line would not show a value: all of them in a short line, else those between two gaps.
function point_radius(line) {
  const known = ([, y] = [0, null]) => is_number(y);
  const dotted = line.dots || line.pairs.length < 3;
  return line.pairs.map((pair, i) => dotted || known(pair) && !known(line.pairs[i - 1]) && !known(line.pairs[i + 1]) ? 2.8 : 0);
}

/// lines: {label, pairs, colour: function, opacity, width, dots, dash, quiet}; a quiet line is not in the tooltip.
function place_lines(panel_id, lines, {zero = false} = {}) {
  const kept = lines.filter((line) => has_values(line.pairs));
  if (kept.length === 0) return hide(panel_id);
  place_chart(panel_id, () => {
    const datasets = kept.map((line) => {
      const colour = with_opacity(line.colour(), line.opacity || 1);
      return {
        label: line.label, data: to_points(line.pairs), borderColor: colour, backgroundColor: colour,
        borderWidth: line.width || 1.3, borderDash: line.dash || [], borderJoinStyle: 'round', clip: 6, tension: 0, spanGaps: false,
        pointRadius: point_radius(line), pointHoverRadius: 4, pointHitRadius: 8, pointBorderWidth: 0,
        quiet: line.quiet || false,
      };
    });
    const entries = kept.map((line) => ({label: line.label, colour: line.colour(), shape: (line.dots ? 'dot' : '') + (line.opacity ? ' pale' : '')}));
    return {entries, config: {type: 'line', data: {datasets}, plugins: run.stages.length ? [seam_marks(panel_id === 'loss')] : [], options: {
      animation: false, responsive: true, maintainAspectRatio: false, parsing: false, normalized: true,
      interaction: {mode: 'nearest', axis: 'x', intersect: false},
      scales: {
        x: axis('step', {axis: {type: 'linear', grid: {display: false, borderColor: style_value('--rule')}, ...ends(kept)}, ticks: {maxTicksLimit: 8, callback: grouped}}),
        y: axis('', {axis: {beginAtZero: zero, grace: '4%'}, ticks: {maxTicksLimit: 6}}),
      },
      plugins: {legend: {display: false}, tooltip: {
        ...tooltip((items) => items.length ? `step ${grouped(items[0].parsed.x)}` : ''), filter: (item) => !item.dataset.quiet}},
    }}};
  });
}

/// Dashed lines where a stage begins, above the first; with its name where `named`.
function seam_marks(named) {
  return {id: 'seams', afterDatasetsDraw: (chart) => {
    const {ctx, chartArea: {left, right, top, bottom}, scales: {x}} = chart;
    ctx.save();
    ctx.strokeStyle = ctx.fillStyle = style_value('--muted');
    ctx.font = `11px ${getComputedStyle(document.body).fontFamily}`;
    ctx.textBaseline = 'top';
    let free = -Infinity;  // names that would stand on each other are left out
    for (const {step, name} of run.stages) {
      const at = Math.max(x.getPixelForValue(step), left);
      if (at > right) continue;
      ctx.setLineDash([4, 3]);
      ctx.beginPath();
      if (step > 0) ctx.moveTo(at, top), ctx.lineTo(at, bottom), ctx.stroke();
      const width = ctx.measureText(name).width;
      if (named && at + 4 > free && at + 4 + width < right) ctx.fillText(name, at + 4, top + 2), free = at + 8 + width;
    }
    ctx.restore();
  }};
}

function ends(lines) {
  const steps = lines.flatMap((line) => [line.pairs[0][0], line.pairs[line.pairs.length - 1][0]]);
  const [min, max] = [Math.min(...steps), Math.max(...steps)];
  return min < max ? {min: min < max * 0.25 ? 0 : min, max} : {};
}

/// Stacked bars over stretches of steps. series: {label, values, colour: function}.
function place_stack(panel_id, first, last, series) {
  place_chart(panel_id, () => ({
    entries: series.map((one) => ({label: one.label, colour: one.colour(), shape: 'block'})),
    config: {
      type: 'bar',
      data: {labels: last, datasets: series.map((one) => ({label: one.label, data: one.values, backgroundColor: one.colour(), barPercentage: 1, categoryPercentage: 0.92}))},
      options: {
        animation: false, responsive: true, maintainAspectRatio: false, interaction: {mode: 'index', intersect: false},
        scales: {
          x: axis('step', {axis: {stacked: true, grid: {display: false, borderColor: style_value('--rule')}}, ticks: {maxTicksLimit: 8, callback: (at) => grouped(last[at])}}),
          y: axis('', {axis: {stacked: true, beginAtZero: true}, ticks: {maxTicksLimit: 6}}),
        },
        plugins: {legend: {display: false}, tooltip: {
          ...tooltip((items) => items.length ? `steps ${grouped(first[items[0].dataIndex])} to ${grouped(last[items[0].dataIndex])}` : ''),
          itemSort: (a, b) => b.datasetIndex - a.datasetIndex}},
      },
    },
  }));
}
