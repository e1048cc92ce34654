using System.Globalization;

namespace Agency.Worker;

/// <summary>
/// When a timer is due: a time span, or an NCRONTAB expression of six fields
/// (second minute hour day month day-of-week; <c>*</c>, lists, ranges, steps, English names of months and days). UTC.
/// </summary>
internal abstract class TimerSchedule
{
    /// <summary>The first due time after <paramref name="after"/>.</summary>
    public abstract DateTime Next(DateTime after);

    /// <exception cref="FormatException">The text is neither form.</exception>
    public static TimerSchedule Parse(string text)
    {
        if (TimeSpan.TryParse(text, CultureInfo.InvariantCulture, out var every) && text.Contains(':', StringComparison.Ordinal))
            return every > TimeSpan.Zero ? new Every(every) : throw new FormatException($"The schedule '{text}' must be longer than zero.");
        return new Cron(text);
    }

    /// <summary>Waits in steps, as one delay cannot be longer than about 49 days. Returns early when cancelled.</summary>
    public static async Task WaitUntilAsync(DateTime due, CancellationToken cancel)
    {
        for (var left = due - DateTime.UtcNow; left > TimeSpan.Zero && !cancel.IsCancellationRequested; left = due - DateTime.UtcNow)
            await Task.Delay(left < TimeSpan.FromHours(1) ? left : TimeSpan.FromHours(1), cancel).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
    }

    private sealed class Every(TimeSpan span) : TimerSchedule
    {
        public override DateTime Next(DateTime after) => after + span;
    }

    private sealed class Cron : TimerSchedule
    {
        private static readonly string[] Months = ["JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC"];
        private static readonly string[] Days = ["SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT"];

        private readonly bool[] _second, _minute, _hour, _day, _month, _weekday;
        private readonly string _text;

        public Cron(string text)
        {
            _text = text;
            var fields = text.Split(' ', StringSplitOptions.RemoveEmptyEntries);
            if (fields.Length == 5)
                fields = ["0", .. fields];
            if (fields.Length != 6)
                throw new FormatException($"The schedule '{text}' has {fields.Length} fields; NCRONTAB has six, seconds first.");
            _second = Field(fields[0], 0, 59, []);
            _minute = Field(fields[1], 0, 59, []);
            _hour = Field(fields[2], 0, 23, []);
            _day = Field(fields[3], 1, 31, []);
            _month = Field(fields[4], 1, 12, Months);
            _weekday = Field(fields[5], 0, 7, Days);
            _weekday[0] |= _weekday[7];
        }

        public override DateTime Next(DateTime after)
        {
            var at = new DateTime(after.Year, after.Month, after.Day, after.Hour, after.Minute, after.Second, DateTimeKind.Utc).AddSeconds(1);
            // A 29 February that must be a given weekday comes once in 28 years, or 40 over a skipped leap year.
            for (var end = at.AddYears(41); at < end;)
            {
                if (!_month[at.Month])
                    at = new DateTime(at.Year, at.Month, 1, 0, 0, 0, DateTimeKind.Utc).AddMonths(1);
                else if (!_day[at.Day] || !_weekday[(int)at.DayOfWeek])
                    at = at.Date.AddDays(1);
                else if (!_hour[at.Hour])
                    at = at.Date.AddHours(at.Hour + 1);
                else if (!_minute[at.Minute])
                    at = at.Date.AddHours(at.Hour).AddMinutes(at.Minute + 1);
                else if (!_second[at.Second])
                    at = at.AddSeconds(1);
                else
                    return at;
            }

            throw new FormatException($"The schedule '{_text}' never comes due.");
        }

        private bool[] Field(string field, int low, int high, string[] names)
        {
            var allowed = new bool[high + 1];
            foreach (var part in field.Split(','))
            {
                var (range, step) = part.Split('/') switch
                {
                    [var whole] => (whole, 1),
                    [var whole, var by] => (whole, Number(by, 1, high, [])),
                    _ => throw Wrong(part),
                };
                var (from, to) = range.Split('-') switch
                {
                    ["*"] => (low, high),
                    [var one] => (Number(one, low, high, names), part.Contains('/', StringComparison.Ordinal) ? high : Number(one, low, high, names)),
                    [var first, var last] => (Number(first, low, high, names), Number(last, low, high, names)),
                    _ => throw Wrong(part),
                };
                if (from > to)
                    throw Wrong(part);
                for (var value = from; value <= to; value += step)
                    allowed[value] = true;
            }

            return allowed;
        }

        private int Number(string text, int low, int high, string[] names)
        {
            var named = Array.FindIndex(names, n => n.Equals(text, StringComparison.OrdinalIgnoreCase));
            if (named >= 0)
                return named + (names.Length == 12 ? 1 : 0);
            return int.TryParse(text, NumberStyles.None, CultureInfo.InvariantCulture, out var value) && value >= low && value <= high
                ? value
                : throw Wrong(text);
        }

        private FormatException Wrong(string part) => new($"The schedule '{_text}' has '{part}', which NCRONTAB does not allow there.");
    }
}
