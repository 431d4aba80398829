'use strict';
// Draws the charts of the page with BokehJS.

// Each colour has a contrast of at least 4.5 to white; the dashes tell curves apart without colour.
const COLOURS = ['#0b5cad', '#b3410a', '#0a6b3d', '#8a2be2', '#a3134f', '#5f5f00', '#00686b', '#5b3a29'];
const DASHES = ['solid', 'dashed', 'dotdash', 'dotted'];
const INK = '#1c2430';
const LINES = '#dfe3e8';
const TEXT = '13px';

function emptyFigure(chart) {
  const figure = Bokeh.Plotting.figure({
    height: 300,
    sizing_mode: 'stretch_width',
    min_width: 200,
    tools: 'pan,box_zoom,reset',
    active_drag: null, // A finger that scrolls the page must not move a chart.
    toolbar_location: 'above',
    x_axis_label: chart.x_label,
    y_axis_label: chart.y_label,
    outline_line_color: null,
  });
  figure.toolbar.logo = null;
  for (const axis of [figure.xaxis, figure.yaxis]) {
    axis.axis_label_text_font_style = 'normal';
    axis.axis_label_text_font_size = TEXT;
    axis.major_label_text_font_size = TEXT;
    axis.axis_label_text_color = INK;
    axis.major_label_text_color = INK;
  }
  figure.xaxis.formatter = new Bokeh.NumeralTickFormatter({ format: '0.[00]a' });
  figure.xaxis.ticker = new Bokeh.BasicTicker({ desired_num_ticks: 5 });
  for (const grid of [figure.xgrid, figure.ygrid]) grid.grid_line_color = LINES;
  return figure;
}

function addLegend(figure, items) {
  const longest = Math.max(...items.map((item) => item.label.value.length));
  const legend = new Bokeh.Legend({
    items,
    location: 'top_left',
    orientation: 'horizontal',
    ncols: Math.max(1, Math.floor(36 / (longest + 4))),
    spacing: 10,
    click_policy: 'hide',
    border_line_color: null,
    label_text_color: INK,
    label_text_font_size: TEXT,
    margin: 0,
    padding: 4,
  });
  figure.add_layout(legend, 'below');
}

function drawChart(element) {
  const chart = JSON.parse(element.querySelector('script').textContent);
  const figure = emptyFigure(chart);
  const items = chart.lines.map((line, index) => {
    const colour = COLOURS[index % COLOURS.length];
    const y = line.y.map((value) => (value === null ? NaN : value));
    const source = new Bokeh.ColumnDataSource({ data: { x: line.x, y } });
    const look = { source, name: line.label, color: colour };
    const dash = DASHES[(index + Math.floor(index / COLOURS.length)) % DASHES.length];
    const renderers = [figure.line({ field: 'x' }, { field: 'y' }, { ...look, line_width: 2, line_dash: dash })];
    if (line.dots) renderers.push(figure.scatter({ field: 'x' }, { field: 'y' }, { ...look, size: 7 }));
    return new Bokeh.LegendItem({ label: { value: line.label }, renderers });
  });
  for (const location of chart.marks) {
    figure.add_layout(new Bokeh.Span({ location, dimension: 'height', line_color: INK, line_dash: 'dashed' }));
  }
  const tooltips = [['', '$name'], [chart.x_label, '@x{0,0.[0]}'], [chart.y_label || chart.title, '@y{0.[0000]a}']];
  figure.add_tools(new Bokeh.HoverTool({ tooltips }));
  if (items.length > 1) addLegend(figure, items);
  Bokeh.Plotting.show(figure, element.querySelector('.canvas'));
}

document.querySelectorAll('.chart').forEach(drawChart);
