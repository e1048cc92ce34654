using System.Buffers;
using System.ComponentModel;
using System.ComponentModel.DataAnnotations;
using System.Globalization;
using System.Text;
using System.Text.Json;
using Agency.Platform;
using Microsoft.AspNetCore.Http;
using Microsoft.Azure.Functions.Worker;

namespace Agency.Analytics;

/// <param name="Event">Only events of this name; null for all.</param>
/// <param name="Filter">Which events, such as <c>country = 'GB'</c>.</param>
/// <param name="Format"><c>ndjson</c> is one event in each line, as <c>POST /events</c> takes it.</param>
public sealed record ExportQuery(
    SpanQuery Span, string? Event, [MaxLength(EventFilter.MaxLength), Display(Prompt = "country = 'GB'")] string? Filter,
    [AllowedValues("ndjson", "csv"), DefaultValue("ndjson")] string Format);

/// <summary>GET /analytics/export: the events themselves, in the order of their time, however many they are.</summary>
public sealed class ExportEvents(UnitOfWork work)
{
    [Function(nameof(ExportEvents)), RequireScope("analytics:read")]
    [Operation(Query = typeof(ExportQuery), Answer = typeof(TrackedEvent), MediaType = AnswerFormat.Ndjson, OtherMediaTypes = [Csv.MediaType], IsStream = true)]
    public async Task<IResult> Run(
        [HttpTrigger(AuthorizationLevel.Anonymous, "get", Route = "analytics/export")] HttpRequest http, CancellationToken cancel)
    {
        var parameters = QueryParameters.Of(http);
        var query = new ExportQuery(
            SpanQuery.Of(parameters), parameters.Text("event"), parameters.Text("filter", EventFilter.MaxLength), parameters.OneOf("format", "ndjson", "ndjson", "csv"));
        var filter = query.Filter is null ? null : EventFilter.Parse(query.Filter);
        var isCsv = query.Format == "csv";
        var names = query.Event is null ? await work.EventNamesAsync(query.Span, cancel) : [query.Event];
        var page = await FirstAsync(query.Span, names, cancel);
        var text = new ArrayBufferWriter<byte>();
        if (isCsv)
            text.Write("messageId,event,userId,anonymousId,time,properties\r\n"u8);
        // The first page before the answer begins, so that what goes wrong with it is a problem.
        if (page is not null)
            page = await ReadAsync(page, names, filter, isCsv, text, cancel);
        return new StreamedAnswer(isCsv ? Csv.ContentType : $"{AnswerFormat.Ndjson}; charset=utf-8", AnswerFormat.FileName(http, query.Format), async (body, gone) =>
        {
            while (true)
            {
                await body.WriteAsync(text.WrittenMemory, gone);
                text.ResetWrittenCount();
                if (page is null)
                    return;
                page = await ReadAsync(page, names, filter, isCsv, text, gone);
            }
        });
    }

    /// <summary>The page at the first event; null when there is none.</summary>
    private async Task<EventPage?> FirstAsync(SpanQuery span, string[] names, CancellationToken cancel)
    {
        var (first, last) = await work.EventTimesAsync(names, cancel);
        var from = span.From > first ? span.From : first;
        var to = span.To < last ? span.To : last?.AddTicks(TimeSpan.TicksPerMicrosecond);
        return from < to ? EventPage.Starting(from.Value, to.Value) : null;
    }

    /// <summary>Adds a page's events to the text. No connection is held while they are written to the client.</summary>
    /// <returns>The page after it; null when this was the last.</returns>
    private async Task<EventPage?> ReadAsync(EventPage page, string[] names, EventFilter? filter, bool isCsv, ArrayBufferWriter<byte> text, CancellationToken cancel)
    {
        page = await page.NarrowAsync(work, names, cancel);
        var before = text.WrittenCount;
        var rows = await work.QueryAsync(
            $"""
            select {EventRows.TrackedColumns}
            from analytics.events e
            where e.name = any({names}) and e.occurred_at >= {page.From} and e.occurred_at < {page.End}
              and (e.occurred_at > {page.From} or e.message_id collate "C" > {page.After}) {(filter is null ? Sql.Empty : $"and {filter.Condition}")}
            order by e.occurred_at, e.message_id collate "C"
            limit {page.Rows}
            """,
            row =>
            {
                var e = EventRows.Tracked(row);
                text.Write(isCsv ? Encoding.UTF8.GetBytes(Row(e, row.GetString(5))) : JsonSerializer.SerializeToUtf8Bytes(e, AnalyticsJson.Default.TrackedEvent));
                text.Write(isCsv ? "\r\n"u8 : "\n"u8);
                return (row.GetFieldValue<DateTime>(4), e.MessageId);
            },
            cancel);
        return page.Next(rows.Count, rows.Count == 0 ? null : rows[^1], text.WrittenCount - before);
    }

    private static string Row(TrackedEvent e, string properties) => new StringBuilder()
        .AppendCell(e.MessageId).Append(',').AppendCell(e.Event).Append(',').AppendCell(e.UserId).Append(',').AppendCell(e.AnonymousId).Append(',')
        .AppendCell(e.Time.ToString("yyyy-MM-dd'T'HH:mm:ss.FFFFFFF'Z'", CultureInfo.InvariantCulture)).Append(',').AppendCell(properties).ToString();
}
