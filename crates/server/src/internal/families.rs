//! Builds families of series for the text format: names, help, kinds, labels.

use prometheus::proto::{
    Bucket, Counter, Gauge, Histogram, LabelPair, Metric, MetricFamily, MetricType,
};
use runtime::{Sizes, Timing};

/// A label's name and value.
pub(super) type Label<'a> = (&'a str, &'a str);

/// The families built so far.
#[derive(Default)]
pub(super) struct Families(Vec<MetricFamily>);

impl Families {
    /// Adds a gauge without labels.
    pub(super) fn gauge(&mut self, name: &str, help: &str, value: f64) {
        self.gauges(name, help, [(vec![], value)]);
    }

    /// Adds a gauge for each set of labels.
    pub(super) fn gauges<'a>(
        &mut self,
        name: &str,
        help: &str,
        series: impl IntoIterator<Item = (Vec<Label<'a>>, f64)>,
    ) {
        self.numbers(name, help, MetricType::GAUGE, series, |metric, value| {
            let mut gauge = Gauge::default();
            gauge.set_value(value);
            metric.set_gauge(gauge);
        });
    }

    /// Adds a counter without labels.
    pub(super) fn counter(&mut self, name: &str, help: &str, value: u64) {
        self.counters(name, help, [(vec![], value as f64)]);
    }

    /// Adds a counter for each set of labels.
    pub(super) fn counters<'a>(
        &mut self,
        name: &str,
        help: &str,
        series: impl IntoIterator<Item = (Vec<Label<'a>>, f64)>,
    ) {
        self.numbers(name, help, MetricType::COUNTER, series, |metric, value| {
            let mut counter = Counter::default();
            counter.set_value(value);
            metric.set_counter(counter);
        });
    }

    /// Adds a family with one number for each set of labels.
    fn numbers<'a>(
        &mut self,
        name: &str,
        help: &str,
        kind: MetricType,
        series: impl IntoIterator<Item = (Vec<Label<'a>>, f64)>,
        set: fn(&mut Metric, f64),
    ) {
        let series = series.into_iter().map(|(labels, value)| {
            let mut metric = labelled(&labels);
            set(&mut metric, value);
            metric
        });
        self.push(name, help, kind, series.collect());
    }

    /// Adds a histogram of times.
    pub(super) fn timing(&mut self, name: &str, help: &str, timing: &Timing) {
        let sum = timing.sum_seconds();
        self.histogram(name, help, timing.count(), sum, timing.buckets());
    }

    /// Adds a histogram of times for each set of labels.
    pub(super) fn timings<'a>(
        &mut self,
        name: &str,
        help: &str,
        series: impl IntoIterator<Item = (Vec<Label<'a>>, Timing)>,
    ) {
        let series = series.into_iter().map(|(labels, timing)| {
            let mut metric = labelled(&labels);
            let sum = timing.sum_seconds();
            metric.set_histogram(histogram(timing.count(), sum, timing.buckets()));
            metric
        });
        self.push(name, help, MetricType::HISTOGRAM, series.collect());
    }

    /// Adds a histogram of sizes.
    pub(super) fn sizes(&mut self, name: &str, help: &str, sizes: &Sizes) {
        self.histogram(
            name,
            help,
            sizes.count(),
            sizes.sum() as f64,
            sizes.buckets(),
        );
    }

    fn histogram(
        &mut self,
        name: &str,
        help: &str,
        count: u64,
        sum: f64,
        buckets: Vec<(f64, u64)>,
    ) {
        let mut metric = Metric::default();
        metric.set_histogram(histogram(count, sum, buckets));
        self.push(name, help, MetricType::HISTOGRAM, vec![metric]);
    }

    fn push(&mut self, name: &str, help: &str, kind: MetricType, series: Vec<Metric>) {
        if series.is_empty() {
            // There are none before the cores run, and the encoder refuses a family without series.
            return;
        }
        let mut family = MetricFamily::default();
        family.set_name(name.to_owned());
        family.set_help(help.to_owned());
        family.set_field_type(kind);
        family.set_metric(series);
        self.0.push(family);
    }

    /// All families.
    pub(super) fn into_vec(self) -> Vec<MetricFamily> {
        self.0
    }
}

fn histogram(count: u64, sum: f64, buckets: Vec<(f64, u64)>) -> Histogram {
    let buckets = buckets.into_iter().map(|(bound, count)| {
        let mut bucket = Bucket::default();
        bucket.set_upper_bound(bound);
        bucket.set_cumulative_count(count);
        bucket
    });
    let mut histogram = Histogram::default();
    histogram.set_sample_count(count);
    histogram.set_sample_sum(sum);
    histogram.set_bucket(buckets.collect());
    histogram
}

fn labelled(labels: &[Label<'_>]) -> Metric {
    let pairs = labels.iter().map(|(name, value)| {
        let mut pair = LabelPair::default();
        pair.set_name((*name).to_owned());
        pair.set_value((*value).to_owned());
        pair
    });
    Metric::from_label(pairs.collect())
}
