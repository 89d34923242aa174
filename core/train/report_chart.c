#include "core/base/memory.h"
#include "core/train/report.h"
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

enum { WIDTH = 620, HEIGHT = 240, LEFT = 64, RIGHT = 20, TOP = 30, BOTTOM = 28, MAX_POINTS = 500, TICKS = 5 };

struct html { char *text; size_t n, cap; int failed; };

html *html_new(void) { return mem_alloc(sizeof(html), 0); }

void html_free(html *h)
{
    if (h) mem_free(h->text);
    mem_free(h);
}

static int room(html *h, size_t more)
{
    if (h->failed) return 0;
    if (h->n + more + 1 <= h->cap) return 1;
    const size_t cap = 2 * (h->n + more + 4096);
    char *grown = mem_grow(h->text, h->cap, cap, 1);
    if (!grown) return h->failed = 1, 0;
    h->text = grown;
    h->cap = cap;
    return 1;
}

void html_raw(html *h, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    const int n = vsnprintf(NULL, 0, fmt, ap);
    va_end(ap);
    if (n < 0 || !room(h, (size_t)n)) return;
    va_start(ap, fmt);
    h->n += (size_t)vsnprintf(h->text + h->n, (size_t)n + 1, fmt, ap);
    va_end(ap);
}

void html_text(html *h, const char *s)
{
    for (; *s; s++) {
        const unsigned char c = (unsigned char)*s;
        if (c == '&') html_raw(h, "&amp;");
        else if (c == '<') html_raw(h, "&lt;");
        else if (c == '>') html_raw(h, "&gt;");
        else if (c == '"') html_raw(h, "&quot;");
        else if (c < 32 && c != '\n' && c != '\t') html_raw(h, "\xEF\xBF\xBD"); /* HTML has no other controls */
        else html_raw(h, "%c", c);
    }
}

const char *html_done(html *h, size_t *n)
{
    *n = h->n;
    return h->failed ? NULL : h->text ? h->text : "";
}

typedef struct scale { double x0, x1, y0, y1; } scale;

static double across(const scale *s, double x) { return LEFT + (x - s->x0) / (s->x1 - s->x0) * (WIDTH - LEFT - RIGHT); }
static double up(const scale *s, double y) { return HEIGHT - BOTTOM - (y - s->y0) / (s->y1 - s->y0) * (HEIGHT - TOP - BOTTOM); }

static void widen(scale *s, const series *v)
{
    for (size_t i = 0; v && i < v->n; i++) {
        s->x0 = fmin(s->x0, v->points[i].step);
        s->x1 = fmax(s->x1, v->points[i].step);
        s->y0 = fmin(s->y0, v->points[i].value);
        s->y1 = fmax(s->y1, v->points[i].value);
    }
}

/* 1, 2 or 5 times a power of ten, so that about TICKS of them cover `range`. */
static double tick(double range)
{
    const double raw = range / TICKS, power = pow(10, floor(log10(raw)));
    return raw / power < 1.5 ? power : raw / power < 3.5 ? 2 * power : raw / power < 7.5 ? 5 * power : 10 * power;
}

static void axes(html *h, const scale *s)
{
    const double dy = tick(s->y1 - s->y0), dx = fmax(tick(s->x1 - s->x0), 1);
    html_raw(h, "<g class=\"axis\">");
    for (double y = ceil(s->y0 / dy) * dy; y <= s->y1 + dy * 1e-6; y += dy)
        html_raw(h, "<line x1=\"%d\" x2=\"%d\" y1=\"%.1f\" y2=\"%.1f\"/><text x=\"%d\" y=\"%.1f\" text-anchor=\"end\">%.4g</text>", LEFT,
                 WIDTH - RIGHT, up(s, y), up(s, y), LEFT - 6, up(s, y) + 4, fabs(y) < dy * 1e-6 ? 0.0 : y);
    for (double x = ceil(s->x0 / dx) * dx; x <= s->x1 + dx * 1e-6; x += dx)
        html_raw(h, "<text x=\"%.1f\" y=\"%d\" text-anchor=\"middle\">%.10g</text>", across(s, x), HEIGHT - 8, x);
    html_raw(h, "</g>");
}

/* At most MAX_POINTS places, each the mean of what it stands for and of `half` more values on either side. */
static void line(html *h, const scale *s, const series *v, const char *class, size_t half)
{
    const size_t per = (v->n + MAX_POINTS - 1) / MAX_POINTS;
    html_raw(h, "<polyline class=\"%s\" points=\"", class);
    for (size_t i = 0; i < v->n; i += per) {
        const size_t last = i + per < v->n ? i + per : v->n, around = half < i ? half : i; /* even on both sides at an edge */
        const size_t from = i - around, to = last + around < v->n ? last + around : v->n;
        double x = 0, y = 0;
        for (size_t k = i; k < last; k++) x += v->points[k].step;
        for (size_t k = from; k < to; k++) y += v->points[k].value;
        html_raw(h, "%.1f,%.1f ", across(s, x / (double)(last - i)), up(s, y / (double)(to - from)));
    }
    html_raw(h, "\"/>");
}

static void dots(html *h, const scale *s, const series *v)
{
    if (v->n > 60) return;
    for (size_t i = 0; i < v->n; i++)
        html_raw(h, "<circle class=\"other\" cx=\"%.1f\" cy=\"%.1f\" r=\"3\"><title>step %.10g: %.5g</title></circle>",
                 across(s, v->points[i].step), up(s, v->points[i].value), v->points[i].step, v->points[i].value);
}

void chart_draw(html *h, const char *title, const series *main, const series *other)
{
    scale s = {INFINITY, -INFINITY, INFINITY, -INFINITY};
    widen(&s, main);
    widen(&s, other);
    if (s.x1 <= s.x0) s.x0 -= 1, s.x1 += 1;
    const double margin = s.y1 > s.y0 ? 0.05 * (s.y1 - s.y0) : s.y0 != 0 ? 0.1 * fabs(s.y0) : 1;
    s.y0 = s.y0 >= 0 && s.y0 < margin ? 0 : s.y0 - margin;
    s.y1 += margin;
    html_raw(h, "<svg viewBox=\"0 0 %d %d\" role=\"img\"><title>", WIDTH, HEIGHT);
    html_text(h, title);
    html_raw(h, "</title><text class=\"title\" x=\"%d\" y=\"16\">", LEFT);
    html_text(h, title);
    html_raw(h, "</text>");
    axes(h, &s);
    const int noisy = main->n >= 60;
    line(h, &s, main, noisy ? "raw" : "mean", 0);
    if (noisy) line(h, &s, main, "mean", main->n / 60);
    if (other) line(h, &s, other, "other", 0), dots(h, &s, other);
    html_raw(h, "</svg>\n");
}
