"""Golden values of the statistics, from scipy. Run: python golden.py > golden.json (scipy 1.11 or newer).

Decides nothing: every figure is scipy's own function, but P(A > B), which is its adaptive quadrature of a beta density, and
Barnard's p-value where scipy's loses ties. Kept to what scipy has; sequential tests and power are proven in Rust by computing every outcome.
"""

import json
import sys

import numpy as np
from scipy import integrate, optimize, special, stats

COUNTS = [(0, 1), (1, 1), (8, 10), (16, 20), (20, 20), (0, 24), (4, 24), (17, 24), (21, 24), (40, 50), (31, 96), (64, 96),
          (263, 1000)]
PAIRS = [((7, 15), (12, 15)), ((17, 20), (10, 20)), ((16, 20), (10, 20)), ((10, 10), (5, 10)), ((35, 50), (25, 50)),
         ((4, 24), (21, 24)), ((17, 24), (14, 24)), ((5, 24), (17, 24)), ((5, 24), (12, 24)), ((31, 96), (64, 96)),
         ((53, 96), (64, 96)), ((3, 7), (9, 30)), ((0, 5), (5, 5)), ((0, 12), (1, 9)), ((0, 900), (3, 900)),
         ((1000, 1000), (996, 1000)), ((2, 1000), (8, 1000))]


def intervals():
    for k, n in COUNTS:
        for level in (0.9, 0.95, 0.99):
            test = stats.binomtest(k, n)
            exact, wilson = (test.proportion_ci(level, method) for method in ("exact", "wilson"))
            row = {"successes": k, "trials": n, "level": level, "exact": [exact.low, exact.high],
                   "wilson": [wilson.low, wilson.high]}
            for name, prior in (("jeffreys", 0.5), ("uniform", 1.0)):
                beta = stats.beta(prior + k, prior + n - k)
                row[name] = [beta.mean(), beta.ppf(0.5 - level / 2), beta.ppf(0.5 + level / 2)]
            yield row


def above(first, second, prior):
    (k, n), (l, m) = first, second
    a, b = stats.beta(prior + k, prior + n - k), stats.beta(prior + l, prior + m - l)
    # With x = sin(t)**2 the density is finite at both ends; the interval is cut where the densities are.
    quantiles = np.concatenate([a.ppf([1e-4, 0.5, 0.9999]), b.ppf([1e-4, 0.5, 0.9999])])
    edges = np.concatenate([[0.0], np.arcsin(np.sqrt(np.unique(np.clip(quantiles, 1e-9, 1 - 1e-9)))), [np.pi / 2]])
    scale = 2.0 / special.beta(prior + k, prior + n - k)

    def integrand(t):
        density = np.sin(t) ** (2 * (prior + k) - 1) * np.cos(t) ** (2 * (prior + n - k) - 1)
        return scale * density * b.cdf(np.sin(t) ** 2)

    return sum(integrate.quad(integrand, low, high, epsabs=1e-14, epsrel=1e-13, limit=400)[0]
               for low, high in zip(edges, edges[1:]))


def barnard_p(first, second):
    """scipy's p-value; where rounding makes it miss tables that are exactly as extreme as the observed one (7 of 15 against
    12 of 15: two of 130), and of many trials, where its search may end beside the highest peak, the supremum over all of them,
    of scipy's binomial masses."""
    (k, n), (l, m) = first, second
    x, y = np.arange(n + 1)[:, None], np.arange(m + 1)[None, :]
    pooled = (x + y) / (n + m)
    wald = (x / n - y / m) / np.sqrt(pooled * (1 - pooled) * (1 / n + 1 / m))
    wald[x * m == y * n] = 0
    tail = abs(wald) >= abs(wald[k, l]) - 1e-10
    if n + m < 1000 and tail.sum() == (abs(wald) >= abs(wald[k, l])).sum():
        return stats.barnard_exact([[k, l], [n - k, m - l]], n=512).pvalue
    # Over arcsin(sqrt p) peaks near 0 and 1 are as wide as those in the middle.
    def at(angle):
        p = np.sin(angle) ** 2
        return -(stats.binom.pmf(x[:, 0], n, p) @ tail @ stats.binom.pmf(y[0], m, p))

    step = np.pi / 4000
    best = min(np.arange(2001) * step, key=at)
    found = optimize.minimize_scalar(at, bounds=(best - step, best + step), method="bounded", options={"xatol": 1e-10})
    return -found.fun


def pairs():
    for (k, n), (l, m) in PAIRS:
        # Suissa and Shuster's statistic, as stats.barnard_exact gives it: that takes minutes of a thousand trials.
        pooled = (k + l) / (n + m)
        statistic = (k / n - l / m) / np.sqrt(pooled * (1 - pooled) * (1 / n + 1 / m))
        if n + m < 1000:
            statistic = stats.barnard_exact([[k, l], [n - k, m - l]]).statistic
        yield {"first": [k, n], "second": [l, m], "statistic": statistic, "barnard": barnard_p((k, n), (l, m)),
               "jeffreys": above((k, n), (l, m), 0.5), "uniform": above((k, n), (l, m), 1.0)}


def mc_nemar():
    for b, c in [(0, 1), (3, 3), (1, 9), (10, 2), (0, 25), (40, 61)]:
        yield {"only_first": b, "only_second": c, "p_value": stats.binomtest(b, b + c, 0.5).pvalue}


def survival():
    rng = np.random.default_rng(5)
    for n, m, share in [(6, 6, 0.9), (24, 24, 0.5), (25, 20, 0.8), (60, 80, 0.3)]:
        groups = []
        for count, scale in ((n, 4.0), (m, 7.0)):
            # Tenths of a second, so that there are ties.
            secs = np.round(rng.exponential(scale, count), 1) + 0.1
            groups.append([[float(min(s, 10.0)), bool(s < 10.0 and rng.random() < share)] for s in secs])
        data = [stats.CensoredData.right_censored([s for s, _ in g], [not ok for _, ok in g]) for g in groups]
        log_rank = stats.logrank(data[0], data[1])
        curve = stats.ecdf(data[0]).sf
        band = curve.confidence_interval(0.95, method="log-log")
        events = sorted({s for s, ok in groups[0] if ok})
        at = {float(q): i for i, q in enumerate(curve.quantiles)}
        steps = [[t] + [float(of.probabilities[at[t]]) for of in (curve, band.low, band.high)] for t in events]
        steps = [[None if np.isnan(v) else v for v in step] for step in steps]
        yield {"first": groups[0], "second": groups[1], "statistic": log_rank.statistic, "p_value": log_rank.pvalue,
               "curve": steps}


def distributions():
    for p in (1e-8, 0.001, 0.025, 0.4, 0.975, 0.9999):
        yield {"p": p, "normal": stats.norm.ppf(p)}
    for x, degrees in ((0.1, 1), (3.84, 1), (7.0, 3), (30.0, 5)):
        yield {"x": x, "degrees": degrees, "chi_squared": stats.chi2.sf(x, degrees)}


def everything():
    np.seterr(all="ignore")
    parts = (intervals, pairs, mc_nemar, survival, distributions)
    # Exact for a double: what is compared is arithmetic, not printing.
    return json.loads(json.dumps({part.__name__: list(part()) for part in parts}, default=float))


if __name__ == "__main__":
    lines = [f'"{name}": [\n' + ",\n".join(json.dumps(row) for row in rows) + "\n]" for name, rows in everything().items()]
    sys.stdout.write("{\n" + ",\n".join(lines) + "\n}\n")
