// Draws the bars of Spend. The figures come with the page, and the table below them has the same.
"use strict";

addEventListener("DOMContentLoaded", () => {
  const canvas = document.getElementById("spend-chart");
  if (!canvas) return;
  const {days, series} = JSON.parse(canvas.dataset.chart);
  const token = name => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  const usd = amount => (amount > 0 && amount < 0.005 ? "< $0.01" : `$${amount.toFixed(2)}`);

  function options() {
    const ink = token("--ink-soft"), line = token("--line");
    return {
      animation: false, maintainAspectRatio: false, responsive: true,
      interaction: {mode: "index", intersect: false},
      scales: {
        x: {stacked: true, grid: {display: false}, border: {color: line}, ticks: {color: ink, maxRotation: 0, autoSkipPadding: 12}},
        y: {stacked: true, beginAtZero: true, grid: {color: line}, border: {display: false}, ticks: {color: ink, maxTicksLimit: 5, callback: usd}},
      },
      plugins: {
        legend: {display: false},
        tooltip: {
          backgroundColor: token("--ink"), titleColor: token("--paper"), bodyColor: token("--paper"), footerColor: token("--paper"),
          padding: 10, cornerRadius: 4, boxPadding: 5, filter: item => item.raw > 0,
          callbacks: {
            label: item => ` ${item.dataset.label}  ${usd(item.raw)}`,
            footer: items => (items.length > 1 ? `Together  ${usd(items.reduce((sum, item) => sum + item.raw, 0))}` : ""),
          },
        },
      },
    };
  }
  const bars = () => series.map(({name, pigment, usd: data}) => ({
    label: name, data, backgroundColor: token(`--pigment-${pigment}`) || token("--pigment-other"),
    borderColor: token("--card"), borderWidth: {top: 1}, borderRadius: 2, maxBarThickness: 36,
  }));

  Chart.defaults.font.family = token("--sans");
  const chart = new Chart(canvas, {type: "bar", data: {labels: days, datasets: bars()}, options: options()});
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => {
    chart.data.datasets = bars();
    chart.options = options();
    chart.update();
  });
});
