// Charts, drawn by uPlot: loaded when the first one is shown.
import uPlot from "uplot";
import "uplot/dist/uPlot.min.css";
import type { Series } from "./series.ts";

export interface Drawing {
  series: Series;
  labels: string[];
  /** The first and the last moment that is shown, in seconds: also where nothing was counted yet. */
  span: [number, number];
  /** Whether there are only whole numbers, as of requests. */
  whole: boolean;
  /** Moments at which another version went live, in seconds. */
  switches: number[];
  format: (value: number) => string;
}

export interface Chart {
  destroy: () => void;
  resize: (width: number) => void;
}

const HEIGHT = 180;

function color(element: HTMLElement, name: string): string {
  return getComputedStyle(element).getPropertyValue(name).trim() || "gray";
}

/** Dashes and colours together tell lines apart. */
const DASHES = [[], [6, 3], [2, 2], [8, 3, 2, 3], [12, 4], [1, 3]];

const HOUR = new Intl.DateTimeFormat("en-GB", { hour: "2-digit", minute: "2-digit" });
const DAY = new Intl.DateTimeFormat("en-GB", { day: "numeric", month: "short" });

/** A moment below a chart: the hour, or in long spans the day where one begins. */
function moment(seconds: number, range: number): string {
  const text = HOUR.format(seconds * 1000);
  return range > 86_400 && text === "00:00" ? DAY.format(seconds * 1000) : text;
}

function marks(element: HTMLElement, switches: number[]): uPlot.Plugin {
  return {
    hooks: {
      drawClear: (plot) => {
        const { ctx, bbox } = plot;
        ctx.save();
        ctx.strokeStyle = color(element, "--muted");
        ctx.lineWidth = devicePixelRatio;
        ctx.setLineDash([3 * devicePixelRatio, 3 * devicePixelRatio]);
        for (const moment of switches) {
          const x = plot.valToPos(moment, "x", true);
          if (x < bbox.left || x > bbox.left + bbox.width) continue;
          ctx.beginPath();
          ctx.moveTo(x, bbox.top);
          ctx.lineTo(x, bbox.top + bbox.height);
          ctx.stroke();
        }
        ctx.restore();
      },
    },
  };
}

export function draw(element: HTMLElement, { series, labels, span, whole, switches, format }: Drawing): Chart {
  const line = color(element, "--border");
  const text = color(element, "--muted");
  const range = span[1] - span[0];
  const shown = (value: number | null) => (value === null || (whole && !Number.isInteger(value)) ? "" : format(value));
  const axis = { stroke: text, grid: { stroke: line, width: 1 }, ticks: { stroke: line, width: 1 }, font: "12px system-ui" };
  const plot = new uPlot(
    {
      width: Math.max(200, element.clientWidth),
      height: HEIGHT,
      legend: { show: false },
      cursor: { show: true, drag: { x: false, y: false }, points: { size: 6 } },
      scales: { x: { time: true, range: () => span }, y: { range: (_plot, _least, most) => [0, most > 0 ? most * 1.1 : 1] } },
      axes: [{ ...axis, size: 32, space: 70, values: (_plot, values) => values.map((value) => moment(value, range)) }, { ...axis, size: 64, values: (_plot, values) => values.map(shown) }],
      series: [
        {},
        ...series.lines.map((_line, index) => ({
          label: labels[index] ?? "",
          stroke: color(element, `--line-${(index % 6) + 1}`),
          width: 1.5,
          dash: DASHES[index % DASHES.length] ?? [],
          points: { show: series.times.length < 3 },
        })),
      ],
      plugins: [marks(element, switches)],
    },
    [series.times, ...series.lines.map((one) => one.values)],
    element,
  );
  return { destroy: () => plot.destroy(), resize: (width) => plot.setSize({ width, height: HEIGHT }) };
}
