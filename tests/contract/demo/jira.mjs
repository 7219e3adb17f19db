// Ask everything that a loader asks of Jira Cloud, through a client that checks each answer against Jira's models.
// node jira.mjs CLIENT_FOLDER URL EMAIL TOKEN -> one line of JSON: what was seen
const [folder, host, email, apiToken] = process.argv.slice(2);
const { createCloudClient } = await import(`${folder}/dist/cloud/index.js`);
const { createAgileClient } = await import(`${folder}/dist/agile/index.js`);
const client = createCloudClient({ host, auth: { type: "basic", email, apiToken }, onSchemaMismatch: "throw" });

const issues = [];
const jql = 'project in (FLEET, "PAY") AND updated >= 0000000000000 ORDER BY updated ASC, key ASC';
let nextPageToken;
do {
  const page = await client.issueSearch.searchAndReconsileIssuesUsingJqlPost({
    jql, fields: ["*all"], maxResults: 100, nextPageToken,
  });
  issues.push(...page.issues);
  nextPageToken = page.nextPageToken;
} while (nextPageToken);

let histories = 0;
do {
  const page = await client.issues.getBulkChangelogs({
    issueIdsOrKeys: issues.map((i) => i.key).slice(0, 1000), maxResults: 200, nextPageToken,
  });
  for (const log of page.issueChangeLogs) histories += log.changeHistories.length;
  nextPageToken = page.nextPageToken;
} while (nextPageToken);

const one = await client.issues.getChangeLogs({ issueIdOrKey: issues[0].key, maxResults: 2 });
const me = await client.myself.getCurrentUser();
const info = await client.serverInfo.getServerInfo();
const fields = await client.issueFields.getFields();
const projects = await client.projects.searchProjects({});
const project = await client.projects.getProject({ projectIdOrKey: "FLEET" });
const versions = await client.projectVersions.getProjectVersions({ projectIdOrKey: "FLEET" });
const talked = issues.reduce((a, b) => (b.fields.comment.total > a.fields.comment.total ? b : a));
const comments = [];
let talk;
do {
  talk = await client.issueComments.getComments({ issueIdOrKey: talked.id, startAt: comments.length, maxResults: 10 });
  comments.push(...talk.comments);
} while (comments.length < talk.total);
const bulk = await client.issues.bulkFetchIssues({
  issueIdsOrKeys: [issues[0].id, "99999999"], fields: ["project"],
});
const agile = createAgileClient({ host, auth: { type: "basic", email, apiToken }, onSchemaMismatch: "throw" });
const boards = await agile.board.getAllBoards({ projectKeyOrId: "FLEET" });
const sprints = await agile.board.getAllSprints({ boardId: boards.values[0].id });
const sprint = await agile.sprint.getSprint({ sprintId: sprints.values[0].id });
console.log(JSON.stringify({
  keys: issues.map((i) => i.key), histories, one: one.total, zone: me.timeZone, kind: info.deploymentType,
  custom: fields.filter((f) => f.custom).map((f) => f.id), projects: projects.values.map((p) => p.key),
  lead: project.lead.displayName, versions: versions.map((v) => v.id), inProject: project.versions.map((v) => v.id),
  comments: comments.length, embedded: talked.fields.comment.comments.length, bulk: bulk.issues.map((i) => i.id),
  boards: boards.values.map((b) => b.type), sprints: sprints.values.map((s) => s.id), sprint: sprint.name,
}));
